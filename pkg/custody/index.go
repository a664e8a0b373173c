package custody

import (
	"maps"
	"slices"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

// function has the facts that a View keeps about a PF, a VF, or another function.
type function struct {
	netdevs []string // first the name, then its altnames; empty: none on the host
	driver  string
	group   int           // -1: none
	pf      pci.Address   // of a VF; zero: not visible, as in a virtual machine
	vfs     []pci.Address // of a PF
	whole   bool          // it can be handed out as a whole: a PF without VFs, or a NIC without SR-IOV
}

// absent reports whether the driver should have made a netdev that is not on the host.
func (f function) absent() bool {
	return f.driver != "" && !device.UserspaceDriver(f.driver) && len(f.netdevs) == 0
}

// index finds the functions of a snapshot. An index in a View is never changed.
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
	for _, nic := range s.NICs {
		x.addPF(nic)
	}
	return x
}

// with returns the index of a newer snapshot, which differs by changes.
func (x index) with(s *inventory.Snapshot, changes inventory.Changes) index {
	next := index{maps.Clone(x.functions), maps.Clone(x.netdevs)}
	changed := slices.Concat(changes.Added, changes.Changed)
	for _, fn := range slices.Concat(changed, changes.Removed) { // before any is added: a name may have moved from one to another
		for _, name := range x.functions[fn].netdevs {
			delete(next.netdevs, name)
		}
		delete(next.functions, fn)
	}
	for _, fn := range changed {
		if _, vf, ok := s.VF(fn); ok {
			next.addVF(&vf)
		}
		if nic, ok := s.NIC(fn); ok {
			next.addPF(nic)
		}
	}
	for _, pf := range s.PFs { // changes do not list a PF whose VFs have changed
		next.addPF(pf)
	}
	return next
}

func (x index) addPF(pf device.PF) {
	f := function{netdevs: names(pf.Netdev, pf.AltNames), driver: pf.Driver, group: pf.IOMMUGroup, whole: len(pf.VFs) == 0}
	f.netdevs = append(f.netdevs, pf.OtherNetdevs...)
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
