package custody

import (
	"maps"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Facts is everything that a View is made of. The zero value is a node on which
// nothing is used.
type Facts struct {
	Devices     *inventory.Snapshot
	Sandboxes   []ledger.Sandbox
	Allocations []ledger.Allocation
	Grants      []Grant
	Host        map[string]string           // netdev → what the host uses it for
	Open        []pci.Address               // open through VFIO
	Groups      map[int][]sysfs.GroupMember // IOMMU groups of functions that have a VFIO driver
	Pooled      map[pci.Address]string      // function → resource that it is advertised as
	Changing    []pci.Address
	Settling    []pci.Address     // whose netdev may still be on its way
	Unread      map[string]string // source → why it could not be read
}

// View is who uses what at one moment. It never changes; asking it reads nothing.
type View struct {
	functions   map[pci.Address]function // of the snapshot
	netdevs     map[string]pci.Address   // netdev or altname → its function
	sandboxes   sandboxes
	allocations map[pci.Address]ledger.Allocation
	grants      map[pci.Address][]Grant
	host        map[string]string
	open        map[pci.Address]bool
	groups      map[int][]sysfs.GroupMember
	pooled      map[pci.Address]string
	changing    map[pci.Address]int
	settling    map[pci.Address]bool
	unread      map[string]string
	fresh       map[pci.Address]reading // newer than all of the above, of single functions
}

// function is what a View keeps of a PF, a VF, or another function that was read.
type function struct {
	netdevs []string // first the name, then its altnames; empty: none on the host
	driver  string
	group   int           // -1: none
	vfs     []pci.Address // of a PF
}

// reading is a function as Confirm has just seen it.
type reading struct {
	function
	host map[string]string // what the host uses its netdevs for
	open bool
}

// NewView makes a View of facts. It takes the maps over.
func NewView(f Facts) *View {
	v := &View{
		allocations: map[pci.Address]ledger.Allocation{}, grants: byFunction(f.Grants), host: f.Host, groups: f.Groups,
		open: set(f.Open), settling: set(f.Settling), pooled: f.Pooled, changing: map[pci.Address]int{}, unread: f.Unread,
	}
	v.functions, v.netdevs = index(f.Devices)
	for _, s := range f.Sandboxes {
		v.sandboxes = v.sandboxes.with(s.ID, usesOf(s))
	}
	for _, a := range f.Allocations {
		v.allocations[a.Device] = a
	}
	for _, fn := range f.Changing {
		v.changing[fn]++
	}
	return v
}

func set(fns []pci.Address) map[pci.Address]bool {
	out := map[pci.Address]bool{}
	for _, fn := range fns {
		out[fn] = true
	}
	return out
}

func byFunction(grants []Grant) map[pci.Address][]Grant {
	out := map[pci.Address][]Grant{}
	for _, g := range grants {
		if fn, err := pci.ParseAddress(g.DeviceID); err == nil { // other resources have other ids
			out[fn] = append(out[fn], g)
		}
	}
	return out
}

func index(s *inventory.Snapshot) (map[pci.Address]function, map[string]pci.Address) {
	functions, netdevs := map[pci.Address]function{}, map[string]pci.Address{}
	if s == nil {
		return functions, netdevs
	}
	add := func(fn pci.Address, f function) {
		functions[fn] = f
		for _, name := range f.netdevs {
			netdevs[name] = fn
		}
	}
	vfs := func(list []device.VF) (addrs []pci.Address) {
		for _, vf := range list {
			add(vf.Address, function{netdevs: names(vf.Netdev, vf.AltNames), driver: vf.Driver, group: vf.IOMMUGroup})
			addrs = append(addrs, vf.Address)
		}
		return addrs
	}
	for _, pf := range s.PFs {
		add(pf.Address, function{netdevs: names(pf.Netdev, pf.AltNames), driver: pf.Driver, group: pf.IOMMUGroup, vfs: vfs(pf.VFs)})
	}
	vfs(s.Lone)
	return functions, netdevs
}

func names(netdev string, altNames []string) []string {
	if netdev == "" {
		return nil
	}
	return append([]string{netdev}, altNames...)
}

// Function is the function that a netdev of the host belongs to, by its name or an
// altname; false if it is none of the node's SR-IOV functions.
func (v *View) Function(netdev string) (pci.Address, bool) {
	fn, ok := v.netdevs[netdev]
	return fn, ok
}

// Pooled is the resource that a function is advertised as.
func (v *View) Pooled(fn pci.Address) (resource string, ok bool) {
	resource, ok = v.pooled[fn]
	return resource, ok
}

func (v *View) function(fn pci.Address) function {
	if r, ok := v.fresh[fn]; ok {
		return r.function
	}
	if f, ok := v.functions[fn]; ok {
		return f
	}
	return function{group: -1}
}

func (v *View) hostUse(fn pci.Address, netdev string) string {
	if r, ok := v.fresh[fn]; ok {
		return r.host[netdev]
	}
	return v.host[netdev]
}

// clone is a View whose parts may be replaced, and must not be written into.
func (v *View) clone() *View {
	next := *v
	return &next
}

// sandboxes is what sandboxes have, by who and by what. It is never changed once made.
type sandboxes struct {
	byID       map[string][]Use
	byFunction map[pci.Address][]Use
	byNetdev   map[string][]Use // children on it
}

// with gives the uses of one sandbox the place of those that it had.
func (s sandboxes) with(id string, uses []Use) sandboxes {
	next := sandboxes{clone(s.byID), clone(s.byFunction), clone(s.byNetdev)}
	for _, u := range s.byID[id] {
		if u.Kind == Children {
			replace(next.byNetdev, u.Netdev, without(next.byNetdev[u.Netdev], id))
		} else {
			replace(next.byFunction, u.Function, without(next.byFunction[u.Function], id))
		}
	}
	replace(next.byID, id, uses)
	for _, u := range uses {
		if u.Kind == Children {
			next.byNetdev[u.Netdev] = insert(next.byNetdev[u.Netdev], u)
		} else {
			next.byFunction[u.Function] = insert(next.byFunction[u.Function], u)
		}
	}
	return next
}

func clone[K comparable](m map[K][]Use) map[K][]Use {
	if m == nil {
		return map[K][]Use{}
	}
	return maps.Clone(m)
}

func replace[K comparable](m map[K][]Use, key K, uses []Use) {
	if len(uses) == 0 {
		delete(m, key)
		return
	}
	m[key] = uses
}
