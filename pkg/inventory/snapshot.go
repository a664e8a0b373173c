package inventory

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Snapshot is the node's devices at one moment. It is immutable, and shares its unchanged parts
// with the snapshot before: callers must not write to it.
type Snapshot struct {
	PFs []device.PF `json:"pfs"` // in order of address, each with its VFs
	// Lone are VFs without a visible PF: a virtual machine sees the VFs that it was given in
	// this way.
	Lone []device.VF `json:"lone,omitempty"`
	// NICs are the NICs without SR-IOV, in order of address.
	NICs []device.PF `json:"nics,omitempty"`

	read    bool                     // false for the empty snapshot at the start
	pfs     map[pci.Address]int      // PF -> position in PFs
	nics    map[pci.Address]int      // NIC -> position in NICs
	vfs     map[pci.Address]position // VF -> where it is
	netdevs map[string]pci.Address   // netdev -> its function
}

// position is a VF's place: PFs[pf].VFs[vf], or Lone[vf] if pf is -1.
type position struct{ pf, vf int }

// NewSnapshot returns the snapshot of the given devices. The slices must not be used
// afterwards.
func NewSnapshot(pfs []device.PF, lone []device.VF, nics ...device.PF) *Snapshot {
	s := &Snapshot{
		PFs: pfs, Lone: lone, NICs: nics,
		pfs: make(map[pci.Address]int, len(pfs)), nics: make(map[pci.Address]int, len(nics)),
		vfs: map[pci.Address]position{}, netdevs: map[string]pci.Address{},
	}
	for i, pf := range pfs {
		s.pfs[pf.Address] = i
		s.indexNetdevs(pf)
		s.indexVFs(pf.VFs, i)
	}
	for i, nic := range nics {
		s.nics[nic.Address] = i
		s.indexNetdevs(nic)
	}
	s.indexVFs(lone, -1)
	return s
}

func (s *Snapshot) indexNetdevs(pf device.PF) {
	for _, name := range append([]string{pf.Netdev}, pf.OtherNetdevs...) {
		if name != "" {
			s.netdevs[name] = pf.Address
		}
	}
}

func (s *Snapshot) indexVFs(vfs []device.VF, pf int) {
	for i := range vfs {
		s.vfs[vfs[i].Address] = position{pf, i}
		if vfs[i].Netdev != "" {
			s.netdevs[vfs[i].Netdev] = vfs[i].Address
		}
	}
}

// Read reports whether the node has been read. Until then a snapshot is empty.
func (s *Snapshot) Read() bool { return s.read }

// PF returns the PF at an address.
func (s *Snapshot) PF(addr pci.Address) (device.PF, bool) {
	i, ok := s.pfs[addr]
	if !ok {
		return device.PF{}, false
	}
	return s.PFs[i], true
}

// NIC returns the NIC without SR-IOV at an address.
func (s *Snapshot) NIC(addr pci.Address) (device.PF, bool) {
	i, ok := s.nics[addr]
	if !ok {
		return device.PF{}, false
	}
	return s.NICs[i], true
}

// Has reports whether there is a PF, a VF or a NIC at an address.
func (s *Snapshot) Has(addr pci.Address) bool {
	_, isPF := s.pfs[addr]
	_, isVF := s.vfs[addr]
	_, isNIC := s.nics[addr]
	return isPF || isVF || isNIC
}

// VF returns the VF at an address, with its PF; pf is the zero value for a lone VF.
func (s *Snapshot) VF(addr pci.Address) (pf device.PF, vf device.VF, ok bool) {
	at, ok := s.vfs[addr]
	switch {
	case !ok:
		return device.PF{}, device.VF{}, false
	case at.pf < 0:
		return device.PF{}, s.Lone[at.vf], true
	}
	return s.PFs[at.pf], s.PFs[at.pf].VFs[at.vf], true
}

// NumVFs counts all VFs, including lone ones.
func (s *Snapshot) NumVFs() int { return len(s.vfs) }

// Changes lists the functions that differ between two snapshots, in order of address. A PF
// counts as changed if its own attributes differ, whatever its VFs did.
type Changes struct {
	Added, Removed, Changed []pci.Address
}

// Diff compares two snapshots.
func Diff(old, new *Snapshot) Changes {
	var c Changes
	for _, pf := range new.PFs {
		oldPF, ok := old.PF(pf.Address)
		c.addPF(oldPF, ok, pf)
		if !ok || !shared(oldPF.VFs, pf.VFs) {
			c.addVFs(old, pf.VFs)
		}
	}
	for _, nic := range new.NICs {
		oldNIC, ok := old.NIC(nic.Address)
		c.addPF(oldNIC, ok, nic)
	}
	c.addVFs(old, new.Lone)
	addRemoved(&c, old.pfs, new.pfs)
	addRemoved(&c, old.nics, new.nics)
	addRemoved(&c, old.vfs, new.vfs)
	for _, list := range [][]pci.Address{c.Added, c.Removed, c.Changed} {
		slices.SortFunc(list, pci.Address.Compare)
	}
	return c
}

func addRemoved[P any](c *Changes, old, new map[pci.Address]P) {
	for addr := range old {
		if _, ok := new[addr]; !ok {
			c.Removed = append(c.Removed, addr)
		}
	}
}

func (c *Changes) addPF(old device.PF, known bool, pf device.PF) {
	switch {
	case !known:
		c.Added = append(c.Added, pf.Address)
	case !samePF(old, pf):
		c.Changed = append(c.Changed, pf.Address)
	}
}

func (c *Changes) addVFs(old *Snapshot, vfs []device.VF) {
	for i := range vfs {
		_, oldVF, ok := old.VF(vfs[i].Address)
		switch {
		case !ok:
			c.Added = append(c.Added, vfs[i].Address)
		case !reflect.DeepEqual(oldVF, vfs[i]):
			c.Changed = append(c.Changed, vfs[i].Address)
		}
	}
}

// shared reports whether both are the same slice, so that nothing in it changed.
func shared(a, b []device.VF) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func samePF(a, b device.PF) bool {
	a.VFs, b.VFs = nil, nil
	return reflect.DeepEqual(a, b)
}

// Empty reports whether nothing differs.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// String is a line for logs: "+0000:3b:10.0 -0000:3b:10.2 ~0000:3b:00.0".
func (c Changes) String() string {
	var parts []string
	for _, group := range []struct {
		sign string
		list []pci.Address
	}{{"+", c.Added}, {"-", c.Removed}, {"~", c.Changed}} {
		for i, addr := range group.list {
			if i == 8 { // a log line with all 1,024 VFs of a node would be useless
				parts = append(parts, fmt.Sprintf("%s(%d more)", group.sign, len(group.list)-i))
				break
			}
			parts = append(parts, group.sign+addr.String())
		}
	}
	return strings.Join(parts, " ")
}
