package custody

import (
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Facts is the content of a View. The zero value describes a node on which nothing is
// used.
type Facts struct {
	Devices     *inventory.Snapshot
	Sandboxes   []ledger.Sandbox
	Allocations []ledger.Allocation
	Grants      []Grant
	Ungranted   []string                    // sandboxes with a function that the kubelet no longer lists
	Host        map[string]string           // netdev → the host's use of it: "with the address 10.0.0.1/24"
	OnTop       map[string][]string         // netdev → the host's netdevs on top of it
	Open        []pci.Address               // open through VFIO
	Groups      map[int][]sysfs.GroupMember // IOMMU groups of functions that have a VFIO driver
	Pooled      map[pci.Address]string      // function → resource that it is advertised as
	Governed    map[pci.Address]string      // PF → the profile that governs it
	Changing    []pci.Address
	Settling    []pci.Address     // whose netdev may still be on its way
	Missing     []pci.Address     // whose netdev Confirm missed, although they may be allocated
	Unread      map[string]string // source → why it could not be read
}

// View is the state of all uses at one moment. It never changes, and asking it reads
// nothing from the node.
type View struct {
	devices     *inventory.Snapshot
	index       index // of devices
	sandboxes   sandboxes
	allocations map[pci.Address]ledger.Allocation
	grants      map[pci.Address][]Grant
	ungranted   map[string]bool // sandboxes with a function that the kubelet no longer lists
	host        map[string]HostLink
	open        map[pci.Address]bool
	groups      map[int][]sysfs.GroupMember
	pooled      map[pci.Address]string
	governed    map[pci.Address]string
	changing    map[pci.Address]int
	settling    map[pci.Address]bool
	missing     map[pci.Address]bool // functions whose netdev Confirm missed
	unread      map[string]string
	fresh       map[pci.Address]reading // of single functions; newer than all of the above
}

// reading is the state of a function that Confirm has just read.
type reading struct {
	function
	host map[string]HostLink // by its netdevs
	open bool
}

// NewView makes a View of facts. The caller must not change the maps afterwards.
func NewView(f Facts) *View {
	v := &View{
		allocations: byDevice(f.Allocations), grants: byFunction(f.Grants), host: map[string]HostLink{}, groups: f.Groups,
		open: setOf(f.Open), settling: setOf(f.Settling), missing: setOf(f.Missing), pooled: f.Pooled, governed: f.Governed, changing: map[pci.Address]int{}, unread: f.Unread,
		ungranted: map[string]bool{},
	}
	for _, id := range f.Ungranted {
		v.ungranted[id] = true
	}
	if v.devices = f.Devices; v.devices == nil {
		v.devices = inventory.NewSnapshot(nil, nil)
	}
	v.index = newIndex(v.devices)
	var entries []ledger.Entry
	for _, s := range f.Sandboxes {
		entries = append(entries, s.Entry())
	}
	v.sandboxes = recorded(entries)
	for netdev, how := range f.Host {
		v.host[netdev] = HostLink{How: how}
	}
	for netdev, onTop := range f.OnTop {
		v.host[netdev] = HostLink{How: f.Host[netdev], OnTop: onTop}
	}
	for _, fn := range f.Changing {
		v.changing[fn]++
	}
	return v
}

func setOf(fns []pci.Address) map[pci.Address]bool {
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

// Devices returns the node's functions as this View knows them.
func (v *View) Devices() *inventory.Snapshot { return v.devices }

// Function returns the function of a netdev of the host, which may be given by an altname.
// It returns false if the netdev belongs to no PF, VF or NIC on the PCI bus.
func (v *View) Function(netdev string) (pci.Address, bool) {
	fn, ok := v.index.netdevs[netdev]
	return fn, ok
}

// Pooled returns the resource that a function is advertised as.
func (v *View) Pooled(fn pci.Address) (resource string, ok bool) {
	resource, ok = v.pooled[fn]
	return resource, ok
}

func (v *View) function(fn pci.Address) function {
	if r, ok := v.fresh[fn]; ok {
		return r.function
	}
	if f, ok := v.index.functions[fn]; ok {
		return f
	}
	return function{group: -1}
}

func (v *View) hostLink(fn pci.Address, netdev string) HostLink {
	if r, ok := v.fresh[fn]; ok {
		return r.host[netdev]
	}
	return v.host[netdev]
}

// mark records whether a source could be read. The View is a copy that is not published
// yet.
func (v *View) mark(source string, err error) (changed bool) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if v.unread[source] == why {
		return false
	}
	next := map[string]string{}
	for s, w := range v.unread {
		next[s] = w
	}
	if next[source] = why; why == "" {
		delete(next, source)
	}
	v.unread = next
	return true
}
