// Package deviceplugin advertises pools of VFs to the kubelet as extended resources, and
// hands out VFs at the kubelet's requests.
//
//	pools.go    which VF is in which pool: a pure function of snapshot, pools and custody
//	health.go   why a VF must not be handed out
//	problems.go pools that need a user's attention
//	manager.go  one server per resource, in step with the pools and custody
//	kubelet.go  reactions to the kubelet's restarts
//	server.go   one resource's gRPC service
//	register.go its registration, which is renewed after the kubelet restarts
//	socket.go   its socket
//	allocate.go a container's VFs, with their device nodes and variables
//	suspects.go VFs that Allocate has refused, which become Unhealthy
//	withhold.go VFs that a profile is about to change, which become Unhealthy first
//	devinfo.go  the device-info files for the meta-CNI
//
// The package does not make or change VFs (pkg/profile does), does not attach them to pods
// (cni does), and does not find out who uses them (pkg/custody does).
//
// Two libraries read the machine's own /sys, not Options.FS: rdmamap for RDMA character
// devices, and sriovnet for the representor of a VF whose PF is in switchdev mode.
package deviceplugin

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

// Assignment has the VFs of each pool, in order of resource and address.
type Assignment struct {
	Pools []Members
	// Problems are those of pools that need a user's attention.
	Problems []problem.Problem
}

// Members are all VFs of one extended resource. Several declarations of one resource make
// one pool. VFs that are held back from the kubelet are in a pool of their own.
type Members struct {
	Resource string
	Idle     bool // held back from the kubelet
	Type     device.Type
	Source   string // of its declarations, separated by commas
	Devices  []Device
}

// Device is a VF in a pool, or a whole function: a PF without VFs, or a NIC without SR-IOV.
type Device struct {
	VF       device.VF
	PF       *device.PF       // without its VFs, and zero if no PF is visible. A whole function is its own
	Config   *device.Pool     // the declaration that claims the VF
	Selector *device.Selector // the selector of Config that matches the VF
	Reason   string           // why it must not be handed out; empty: healthy
}

// Incidental reports whether the device is a whole function that its selector selects only by
// its kind, such as by its vendor. If the host uses it, that needs nobody's attention.
func (d *Device) Incidental() bool { return d.VF.Whole && !d.Selector.NamesFunction(*d.PF) }

// Healthy reports whether the VF can be handed out.
func (d *Device) Healthy() bool { return d.Reason == "" }

// Assign puts every VF into the first pool that matches it, with the reason if it must not
// be handed out. The match does not depend on the VF's netdev, so a VF stays in its pool
// while a pod has it.
func Assign(s *inventory.Snapshot, pools []device.Pool, view *custody.View) Assignment {
	a := assigner{pools: pools, view: view, byKey: map[key]*Members{}, overlaps: map[[2]int][]pci.Address{}}
	for i := range pools {
		a.add(i)
	}
	for _, pf := range s.PFs {
		vfs := pf.VFs
		pf.VFs = nil
		a.assignAll(&pf, vfs)
		if len(vfs) == 0 {
			a.assignWhole(&pf, device.On(a.pools, pf))
		}
	}
	a.assignAll(&device.PF{}, s.Lone)
	for _, nic := range s.NICs {
		claims := device.On(a.pools, nic)
		if virtualMachine(s) {
			claims = claims.Addressed()
		}
		a.assignWhole(&nic, claims)
	}
	a.reportOverlaps()
	a.reportNames(s)
	a.reportFunctions(s)
	a.reportNearMisses(s)
	return a.result()
}

// virtualMachine reports whether a node is taken for a virtual machine: it has no PF. There, a
// vendor says nothing about a NIC, and one of them is the machine's own uplink. So NICs that
// are no known VFs count only if pciAddresses names them.
func virtualMachine(s *inventory.Snapshot) bool { return len(s.PFs) == 0 }

// assignWhole assigns a function that has no VFs as one device.
func (a *assigner) assignWhole(pf *device.PF, claims device.Claims) {
	whole := pf.Whole()
	a.assign(pf, claims, &whole)
}

type key struct {
	resource string
	idle     bool
}

type assigner struct {
	pools    []device.Pool
	view     *custody.View
	byKey    map[key]*Members
	overlaps map[[2]int][]pci.Address // index of the pool that has them, index of a later pool that matches too → VFs
	problems []problem.Problem
}

// add makes a pool for a declaration, even if it has no VFs: a capacity of 0 says more
// than an unknown resource.
func (a *assigner) add(i int) {
	p := &a.pools[i]
	if p.Type != "" && p.Type != device.NetDevice {
		a.problem(p, problem.PoolUnsupported, "its type %s is not supported, only netDevice is", p.Type)
		return
	}
	for j := range p.Selectors {
		if fields := p.Selectors[j].Unsupported(); len(fields) > 0 {
			a.problem(p, problem.PoolUnsupported, "a selector selects nothing, since %s is not supported", strings.Join(fields, ", "))
		}
	}
	pool, ok := a.byKey[key{p.Resource, p.Idle}]
	if !ok {
		a.byKey[key{p.Resource, p.Idle}] = &Members{Resource: p.Resource, Idle: p.Idle, Type: cmp.Or(p.Type, device.NetDevice), Source: p.Source}
		return
	}
	if !slices.Contains(strings.Split(pool.Source, ", "), p.Source) {
		pool.Source += ", " + p.Source
	}
}

func (a *assigner) assignAll(pf *device.PF, vfs []device.VF) {
	claims := device.On(a.pools, *pf)
	for i := range vfs {
		a.assign(pf, claims, &vfs[i])
	}
}

func (a *assigner) assign(pf *device.PF, claims device.Claims, vf *device.VF) {
	i, selector := a.claim(claims, vf)
	if selector == nil {
		return
	}
	config := &a.pools[i]
	pool := a.byKey[key{config.Resource, config.Idle}]
	d := Device{VF: *vf, PF: pf, Config: config, Selector: selector}
	d.Reason = d.unfitNow(a.view)
	if d.Reason == "" && !config.Idle { // VFs of idle pools are not handed out
		d.Reason = a.used(vf.Address, config.Resource)
	}
	pool.Devices = append(pool.Devices, d)
	for j := i + 1; j < len(a.pools); j++ {
		if a.pools[j].Resource != config.Resource && claims.Selector(j, *vf) != nil {
			a.overlaps[[2]int{i, j}] = append(a.overlaps[[2]int{i, j}], vf.Address)
		}
	}
}

// used returns who uses a VF; empty: nobody does. A VF that custody has not seen yet counts
// as used until custody's next View.
func (a *assigner) used(vf pci.Address, resource string) string {
	if !a.view.Devices().Has(vf) {
		return "it has just appeared, and its users are not known yet"
	}
	return used(a.view, vf, resource)
}

func (a *assigner) claim(claims device.Claims, vf *device.VF) (int, *device.Selector) {
	for i := range a.pools {
		if s := claims.Selector(i, *a.seen(&a.pools[i], vf)); s != nil {
			return i, s
		}
	}
	return -1, nil
}

// seen returns a VF as a pool sees it. If RDMA namespaces are exclusive, a VF takes its
// RDMA device along into a pod. Then only the pool that handed it out can know that the VF
// has an RDMA device.
func (a *assigner) seen(p *device.Pool, vf *device.VF) *device.VF {
	if !p.RDMA || vf.Netdev != "" || vf.Userspace() || len(vf.RDMADevices) > 0 || !allocatedAs(a.view, vf.Address, p.Resource) {
		return vf
	}
	inPod := *vf
	inPod.RDMADevices = []string{"in the pod"}
	return &inPod
}

func allocatedAs(view *custody.View, vf pci.Address, resource string) bool {
	return slices.ContainsFunc(view.Uses(vf), func(u custody.Use) bool {
		return u.Kind == custody.Allocation && u.Resource == resource
	})
}

func (a *assigner) result() Assignment {
	slices.SortFunc(a.problems, func(x, y problem.Problem) int { return strings.Compare(x.Text, y.Text) })
	out := Assignment{Problems: slices.Compact(a.problems)}
	byAddress := func(x, y Device) int { return x.VF.Address.Compare(y.VF.Address) }
	for _, pool := range a.byKey {
		if !slices.IsSortedFunc(pool.Devices, byAddress) {
			slices.SortFunc(pool.Devices, byAddress)
		}
		out.Pools = append(out.Pools, *pool)
	}
	slices.SortFunc(out.Pools, func(x, y Members) int {
		if c := strings.Compare(x.Resource, y.Resource); c != 0 || x.Idle == y.Idle {
			return c
		}
		if x.Idle {
			return 1
		}
		return -1
	})
	return out
}
