package custody

import (
	"maps"
	"slices"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

// function is what a View keeps of a PF, a VF, or another function that was read.
type function struct {
	netdevs []string // first the name, then its altnames; empty: none on the host
	driver  string
	group   int           // -1: none
	pf      pci.Address   // of a VF; zero: not visible
	vfs     []pci.Address // of a PF
}

// absent reports whether the driver should have made a netdev that is not on the host.
func (f function) absent() bool {
	return f.driver != "" && !device.UserspaceDriver(f.driver) && len(f.netdevs) == 0
}

// index finds functions of a snapshot. Once in a View it never changes.
type index struct {
	functions map[pci.Address]function
	netdevs   map[string]pci.Address // netdev or altname → its function
}

func newIndex(s *inventory.Snapshot) index {
	x := index{map[pci.Address]function{}, map[string]pci.Address{}}
	for _, pf := range s.PFs {
		x.addPF(pf)
		for i := range pf.VFs {
			x.addVF(&pf.VFs[i])
		}
	}
	for i := range s.Lone {
		x.addVF(&s.Lone[i])
	}
	return x
}

// with is the index of a snapshot that differs by changes.
func (x index) with(s *inventory.Snapshot, changes inventory.Changes) index {
	next := index{maps.Clone(x.functions), maps.Clone(x.netdevs)}
	changed := slices.Concat(changes.Added, changes.Changed)
	for _, fn := range slices.Concat(changed, changes.Removed) { // first all: a name may go from one to another
		for _, name := range x.functions[fn].netdevs {
			delete(next.netdevs, name)
		}
		delete(next.functions, fn)
	}
	for _, fn := range changed {
		if _, vf, ok := s.VF(fn); ok {
			next.addVF(&vf)
		}
	}
	for _, pf := range s.PFs { // a PF counts as unchanged whatever its VFs do
		next.addPF(pf)
	}
	return next
}

func (x index) addPF(pf device.PF) {
	f := function{netdevs: names(pf.Netdev, pf.AltNames), driver: pf.Driver, group: pf.IOMMUGroup}
	for i := range pf.VFs {
		f.vfs = append(f.vfs, pf.VFs[i].Address)
	}
	x.add(pf.Address, f)
}

func (x index) addVF(vf *device.VF) {
	x.add(vf.Address, function{netdevs: names(vf.Netdev, vf.AltNames), driver: vf.Driver, group: vf.IOMMUGroup, pf: vf.PF})
}

func (x index) add(fn pci.Address, f function) {
	x.functions[fn] = f
	for _, name := range f.netdevs {
		x.netdevs[name] = fn
	}
}

func names(netdev string, altNames []string) []string {
	if netdev == "" {
		return nil
	}
	return append([]string{netdev}, altNames...)
}
