package sysfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// PFs reads every network function that can have VFs (sriov_totalvfs > 0), in order of address,
// without the VFs themselves. Altnames and the eswitch mode stay empty, since only netlink and
// devlink report them, and so do the names of the PCI id database.
func (f FS) PFs() ([]device.PF, error) {
	functions, err := f.Scan()
	if err != nil {
		return nil, err
	}
	var pfs []device.PF
	for _, addr := range functions.PFs {
		pf, err := f.PF(addr)
		if errors.Is(err, fs.ErrNotExist) {
			continue // unplugged since the listing
		}
		if err != nil {
			return nil, err
		}
		pfs = append(pfs, pf)
	}
	return pfs, nil
}

// Functions are the functions on the PCI bus, in order of address.
type Functions struct {
	PFs  []pci.Address // of the network class, can have VFs
	NICs []pci.Address // of the network class, neither PF nor VF
}

// Scan lists the bus. It reads only the attributes that distinguish the functions.
func (f FS) Scan() (Functions, error) {
	names, err := anywhere.list(f.root.devices())
	if err != nil {
		return Functions{}, fmt.Errorf("list PCI devices: %w", err)
	}
	var found Functions
	for _, name := range names {
		addr, err := pci.ParseAddress(name)
		if err != nil {
			continue // not named by an address: this package does not handle it
		}
		d, err := openDir(f.root.devices() + "/" + name)
		if err != nil {
			continue // unplugged since the listing
		}
		switch d.kind() {
		case physical:
			found.PFs = append(found.PFs, addr)
		case plainNIC:
			found.NICs = append(found.NICs, addr)
		}
		d.close()
	}
	slices.SortFunc(found.PFs, pci.Address.Compare)
	slices.SortFunc(found.NICs, pci.Address.Compare)
	return found, nil
}

// PF reads one physical function, without its VFs. The error wraps fs.ErrNotExist if there is
// no such function, if it cannot have VFs, or if it is no network controller.
func (f FS) PF(addr pci.Address) (device.PF, error) {
	pf, err := readPF(f.root, addr)
	if err != nil {
		return device.PF{}, fmt.Errorf("read PF %s: %w", addr, gone(err))
	}
	return pf, nil
}

// NIC reads a network function that is no VF and cannot have VFs: a NIC without SR-IOV. The error
// wraps fs.ErrNotExist if there is no such function.
func (f FS) NIC(addr pci.Address) (device.PF, error) {
	nic, err := readNIC(f.root, addr)
	if err != nil {
		return device.PF{}, fmt.Errorf("read NIC %s: %w", addr, gone(err))
	}
	return nic, nil
}

// VFs reads the VFs of a PF in order of index.
func (f FS) VFs(pf pci.Address) ([]device.VF, error) {
	slots, err := f.VFSlots(pf)
	if err != nil {
		return nil, err
	}
	vfs := make([]device.VF, 0, len(slots))
	for _, slot := range slots {
		vf, err := f.VFAt(slot)
		if errors.Is(err, fs.ErrNotExist) {
			continue // being removed right now
		}
		if err != nil {
			return nil, err
		}
		vfs = append(vfs, vf)
	}
	return vfs, nil
}

// VFSlot is where a VF sits.
type VFSlot struct {
	Address, PF pci.Address
	Index       int
}

// VFSlots lists the VFs of a PF without reading them, in order of index.
//
// It follows the PF's links. Reading sriov_numvfs would be faster, but it waits for the PF's
// device lock. A change of that number holds the lock for seconds, and indefinitely if a VF
// that is to be removed is open. While VFs are created or removed the links have gaps, so every
// index is tried.
func (f FS) VFSlots(pf pci.Address) ([]VFSlot, error) {
	d, err := openDir(f.root.device(pf))
	if err != nil {
		return nil, fmt.Errorf("list the VFs of PF %s: %w", pf, err)
	}
	defer d.close()
	total, err := d.int("sriov_totalvfs")
	if err != nil {
		return nil, fmt.Errorf("list the VFs of PF %s: %w", pf, gone(err))
	}
	return d.slots(pf, total), nil
}

// VF reads one virtual function. If no PF is visible, PF is zero and Index is 0: inside a
// virtual machine a VF looks like any other function.
func (f FS) VF(addr pci.Address) (device.VF, error) {
	pf, ok := f.PFOf(addr)
	if !ok {
		return f.VFAt(VFSlot{Address: addr})
	}
	slots, err := f.VFSlots(pf)
	if err != nil {
		return device.VF{}, err
	}
	for _, slot := range slots {
		if slot.Address == addr {
			return f.VFAt(slot)
		}
	}
	return device.VF{}, fmt.Errorf("read VF %s: PF %s does not list it: %w", addr, pf, fs.ErrNotExist)
}

// VFAt reads the VF in a slot.
func (f FS) VFAt(slot VFSlot) (device.VF, error) {
	vf, err := readVF(f.root, slot)
	if err != nil {
		return device.VF{}, fmt.Errorf("read VF %s: %w", slot.Address, gone(err))
	}
	return vf, nil
}

// VFAddress returns the address of VF number index of a PF. The error wraps fs.ErrNotExist if
// the PF has no such VF.
func (f FS) VFAddress(pf pci.Address, index int) (pci.Address, error) {
	return f.root.vfAddress(pf, index)
}

// PFOf returns the PF of a VF. It returns false for a function that is no VF, for a VF that is
// gone, and inside a virtual machine, where no PF is visible.
func (f FS) PFOf(vf pci.Address) (pci.Address, bool) {
	addr, err := pci.ParseAddress(anywhere.linkBase(f.root.device(vf) + "/physfn"))
	return addr, err == nil
}

// Netdevs returns the names of a function's own netdevs in this network namespace, the uplink
// first. Representors are left out. The list is empty if all are in other namespaces or no
// kernel driver is bound.
func (f FS) Netdevs(addr pci.Address) ([]string, error) {
	d, err := openDir(f.root.device(addr))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.close()
	own, err := d.ownNetdevs()
	for i, name := range own {
		own[i] = path.Base(name)
	}
	return own, err
}

// NetdevParent returns the name by which the kernel calls the device of a function's netdevs:
// the function's address, or for virtio the name of a device on the virtio bus, "virtio0".
func (f FS) NetdevParent(addr pci.Address) string {
	d, err := openDir(f.root.device(addr))
	if err != nil {
		return addr.String()
	}
	defer d.close()
	return cmp.Or(d.virtioDevice(), addr.String())
}

// FunctionOf returns the PCI function of a netdev in this network namespace. It returns false
// if the netdev is gone or has no PCI function.
func (f FS) FunctionOf(netdev string) (pci.Address, bool) {
	device := f.root.path("sys/class/net", netdev, "device")
	base := anywhere.linkBase(device)
	if strings.HasPrefix(base, "virtio") { // the function is the parent of the device
		resolved, err := filepath.EvalSymlinks(device)
		if err != nil {
			return pci.Address{}, false
		}
		base = filepath.Base(filepath.Dir(resolved))
	}
	addr, err := pci.ParseAddress(base)
	return addr, err == nil
}

// Driver returns the name of the driver that a function is bound to, "" if it is unbound.
func (f FS) Driver(addr pci.Address) (string, error) { return f.root.driverOf(addr) }
