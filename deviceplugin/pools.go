// Package deviceplugin advertises pools of VFs to the kubelet as extended
// resources, and hands VFs out when it asks.
//
//	pools.go    which VF is in which pool: a pure function of snapshot and pools
//	users.go    which VF somebody has whom the kubelet does not know of
//	manager.go  one server per resource, in step with the pools and the kubelet
//	server.go   one resource's gRPC service
//	register.go its registration, kept up through the kubelet's restarts
//	socket.go   its socket
//	allocate.go what a container gets with its VFs
//	withhold.go VFs that are being changed are not handed out meanwhile
//	devinfo.go  the files by which the meta-CNI learns of them
//
// It neither makes nor changes VFs (pkg/profile), nor attaches them to pods (cni).
// Two libraries look at the machine's own /sys here, since a root of one's own is
// of no use to a device node: rdmamap for RDMA character devices, and sriovnet
// for the representor of a VF whose PF is in switchdev mode.
package deviceplugin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

// Assignment says which VF is in which pool, in order of resource and address.
type Assignment struct {
	Pools []Pool
	// Problems are pools and VFs that a user has to look at, each a sentence.
	Problems []string
}

// Pool is all VFs of one extended resource. Several declarations of one resource
// make one pool, except that VFs held back are in a pool of their own.
type Pool struct {
	Resource string
	Idle     bool // held back from the kubelet
	Type     device.Type
	Source   string // where it was declared; several are separated by commas
	Devices  []Device
}

// Device is a VF in a pool.
type Device struct {
	VF       device.VF
	PF       device.PF        // without its VFs; the zero value where no PF is visible
	Config   *device.Pool     // the declaration that claims the VF
	Selector *device.Selector // of Config, by which it does
	Reason   string           // why it must not be handed out; empty: healthy
}

// Healthy reports whether the VF can be handed out.
func (d Device) Healthy() bool { return d.Reason == "" }

// Assign gives every VF to the first pool that matches it. The VFs' netdevs don't
// matter: a VF stays in its pool while a pod has it. Allocated are the resources
// that VFs were handed out as.
func Assign(s *inventory.Snapshot, pools []device.Pool, allocated map[pci.Address]string) Assignment {
	a := assigner{pools: pools, allocated: allocated, byKey: map[key]*Pool{}, overlaps: map[[2]int][]pci.Address{}}
	for i := range pools {
		a.add(i)
	}
	for _, pf := range s.PFs {
		vfs := pf.VFs
		pf.VFs = nil
		for _, vf := range vfs {
			a.assign(pf, vf)
		}
	}
	for _, vf := range s.Lone {
		a.assign(device.PF{}, vf)
	}
	a.reportOverlaps()
	return a.result()
}

type key struct {
	resource string
	idle     bool
}

type assigner struct {
	pools     []device.Pool
	allocated map[pci.Address]string
	byKey     map[key]*Pool
	overlaps  map[[2]int][]pci.Address // pool that has them, pool that would -> VFs
	problems  []string
}

// add makes room for a declaration, also where it has no VFs: a resource with a
// capacity of 0 tells more than one that is unknown.
func (a *assigner) add(i int) {
	p := a.pools[i]
	if p.Type != "" && p.Type != device.NetDevice {
		a.problems = append(a.problems, fmt.Sprintf("%s (%s) has the type %s, of which no devices are found; only netDevice is supported", p.Resource, p.Source, p.Type))
		return
	}
	for _, s := range p.Selectors {
		if fields := s.Unsupported(); len(fields) > 0 {
			a.problems = append(a.problems, fmt.Sprintf("%s (%s): a selector selects nothing, since %s is not supported", p.Resource, p.Source, strings.Join(fields, ", ")))
		}
	}
	pool, ok := a.byKey[key{p.Resource, p.Idle}]
	if !ok {
		a.byKey[key{p.Resource, p.Idle}] = &Pool{Resource: p.Resource, Idle: p.Idle, Type: cmp.Or(p.Type, device.NetDevice), Source: p.Source}
		return
	}
	if !slices.Contains(strings.Split(pool.Source, ", "), p.Source) {
		pool.Source += ", " + p.Source
	}
}

func (a *assigner) assign(pf device.PF, vf device.VF) {
	i := slices.IndexFunc(a.pools, func(p device.Pool) bool { return p.Match(pf, a.seen(p, vf)) })
	if i < 0 {
		return
	}
	config := &a.pools[i]
	pool := a.byKey[key{config.Resource, config.Idle}]
	d := Device{VF: vf, PF: pf, Config: config, Selector: config.Selector(pf, a.seen(*config, vf))}
	d.Reason = d.unfit()
	pool.Devices = append(pool.Devices, d)
	for j := i + 1; j < len(a.pools); j++ {
		if a.pools[j].Resource != config.Resource && a.pools[j].Match(pf, vf) {
			a.overlaps[[2]int{i, j}] = append(a.overlaps[[2]int{i, j}], vf.Address)
		}
	}
}

// seen is a VF as a pool sees it. Where RDMA namespaces are exclusive, a VF takes
// its RDMA device along into a pod; the pool that it was handed out from, and no
// other, knows that it has one.
func (a *assigner) seen(p device.Pool, vf device.VF) device.VF {
	if p.RDMA && a.allocated[vf.Address] == p.Resource && vf.Netdev == "" && !vf.Userspace() && len(vf.RDMADevices) == 0 {
		vf.RDMADevices = []string{"in the pod"}
	}
	return vf
}

// unfit says why the VF, as it is, must not be handed out.
func (d Device) unfit() string {
	vf, driver := d.VF, d.Selector.Driver
	switch {
	case vf.Driver == "":
		return "no driver is bound to it"
	case driver == device.KernelDriver && vf.Userspace():
		return fmt.Sprintf("it is bound to %s, the profile says the kernel's own driver", vf.Driver)
	case driver != "" && driver != device.KernelDriver && vf.Driver != driver:
		return fmt.Sprintf("it is bound to %s, the profile says %s", vf.Driver, driver)
	// In a pod, a VF takes its RDMA device along where RDMA namespaces are exclusive:
	// then it has no netdev here either.
	case d.Selector.RDMA && len(vf.RDMADevices) == 0 && (vf.Netdev != "" || vf.Userspace()):
		return "it has no RDMA device"
	}
	return ""
}

func (a *assigner) reportOverlaps() {
	for pair, vfs := range a.overlaps {
		has, would := a.pools[pair[0]], a.pools[pair[1]]
		a.problems = append(a.problems, fmt.Sprintf("%d VFs (%s) are selected by %s (%s) and by %s (%s); the first has them",
			len(vfs), some(vfs), has.Resource, has.Source, would.Resource, would.Source))
	}
	slices.Sort(a.problems)
}

func some(vfs []pci.Address) string {
	if len(vfs) <= 2 {
		var parts []string
		for _, vf := range vfs {
			parts = append(parts, vf.String())
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s to %s", vfs[0], vfs[len(vfs)-1])
}

func (a *assigner) result() Assignment {
	out := Assignment{Problems: a.problems}
	for _, pool := range a.byKey {
		slices.SortFunc(pool.Devices, func(x, y Device) int { return x.VF.Address.Compare(y.VF.Address) })
		out.Pools = append(out.Pools, *pool)
	}
	slices.SortFunc(out.Pools, func(x, y Pool) int {
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
