package sysfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

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
	names, err := anywhere.list(f.devices())
	if err != nil {
		return Functions{}, fmt.Errorf("list PCI devices: %w", err)
	}
	var found Functions
	for _, name := range names {
		addr, err := pci.ParseAddress(name)
		if err != nil {
			continue // not named by an address: this package does not handle it
		}
		d, err := openDir(f.devices() + "/" + name)
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

type kind int

const (
	other kind = iota
	virtual
	physical
	plainNIC
)

// kind classifies a function with as few reads as possible.
func (d dir) kind() kind {
	if d.linkBase("physfn") != "" {
		return virtual
	}
	if d.networkClass() != nil {
		return other
	}
	total, err := d.int("sriov_totalvfs")
	if total > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) { // a full reading reports the error
		return physical
	}
	return plainNIC
}

// networkClass rejects functions that are not network controllers, by their PCI class. NVMe
// disks, GPUs and crypto accelerators have VFs too, and those are not ours to create or bind.
func (d dir) networkClass() error {
	class, err := d.attr("class")
	if err == nil && !strings.HasPrefix(class, "0x02") {
		err = fmt.Errorf("its PCI class is %s, and a network controller's begins with 0x02: %w", class, fs.ErrNotExist)
	}
	return err
}

// PF reads one physical function, without its VFs. The error wraps fs.ErrNotExist if there is
// no such function, if it cannot have VFs, or if it is no network controller.
func (f FS) PF(addr pci.Address) (device.PF, error) {
	pf, err := f.readPF(addr)
	if err != nil {
		return device.PF{}, fmt.Errorf("read PF %s: %w", addr, gone(err))
	}
	return pf, nil
}

func (f FS) readPF(addr pci.Address) (device.PF, error) {
	d, err := openDir(f.device(addr))
	if err != nil {
		return device.PF{}, err
	}
	defer d.close()
	if err := d.networkClass(); err != nil {
		return device.PF{}, err
	}
	total, err := d.int("sriov_totalvfs")
	if err != nil {
		return device.PF{}, err
	}
	c, err := d.common()
	if err != nil {
		return device.PF{}, err
	}
	pf := device.PF{
		Address: addr, Vendor: c.vendor, Device: c.device, Driver: c.driver,
		NUMANode: c.numaNode, IOMMUGroup: c.iommuGroup, RDMADevices: c.rdma,
		TotalVFs: total, NumVFs: len(d.slots(addr, total)),
	}
	n, ok, err := d.uplink()
	if err != nil || !ok {
		return pf, err
	}
	defer n.close()
	pf.Netdev, pf.MAC, pf.MTU, pf.LinkType = n.name, n.mac(), n.mtu(), n.linkType()
	pf.Ifindex, pf.OperState, pf.Carrier = n.ifindex(), n.operState(), n.carrier()
	return pf, nil
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
	d, err := openDir(f.device(pf))
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

func (d dir) slots(pf pci.Address, total int) []VFSlot {
	var slots []VFSlot
	for i := range total {
		if addr, err := d.vfAddress(i); err == nil {
			slots = append(slots, VFSlot{addr, pf, i})
		}
	}
	return slots
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
	vf, err := f.readVF(slot)
	if err != nil {
		return device.VF{}, fmt.Errorf("read VF %s: %w", slot.Address, gone(err))
	}
	return vf, nil
}

func (f FS) readVF(slot VFSlot) (device.VF, error) {
	d, err := openDir(f.device(slot.Address))
	if err != nil {
		return device.VF{}, err
	}
	defer d.close()
	if slot.PF.IsZero() { // otherwise the PF has been checked
		if err := d.networkClass(); err != nil {
			return device.VF{}, err
		}
	}
	c, err := d.common()
	if err != nil {
		return device.VF{}, err
	}
	vf := device.VF{
		Address: slot.Address, PF: slot.PF, Index: slot.Index, Vendor: c.vendor, Device: c.device, Driver: c.driver,
		NUMANode: c.numaNode, IOMMUGroup: c.iommuGroup, RDMADevices: c.rdma,
	}
	vf.ACPIIndex, _ = d.attr("acpi_index") // most devices have no such attribute
	f.readNodes(d, &vf)
	if vf.Driver == "" || vf.Userspace() {
		return vf, nil
	}
	n, ok, err := d.uplink()
	if err != nil || !ok {
		return vf, err
	}
	defer n.close()
	vf.Netdev, vf.MAC, vf.MTU, vf.LinkType = n.name, n.mac(), n.mtu(), n.linkType()
	return vf, nil
}

// readNodes reads the names of the device nodes through which userspace opens a VF.
func (f FS) readNodes(d dir, vf *device.VF) {
	switch {
	case vf.VFIO():
		vf.VFIOGroup, _ = f.VFIOGroup(vf.Address)
	case vf.Userspace():
		vf.UIO, _ = f.UIO(vf.Address)
	}
	// It is read even without RDMADevices: if an RDMA device is in a pod's namespace, its node
	// stays. The list is empty while ib_uverbs is not loaded.
	vf.Verbs, _ = d.list("infiniband_verbs")
}

// VFAddress returns the address of VF number index of a PF. The error wraps fs.ErrNotExist if
// the PF has no such VF.
func (f FS) VFAddress(pf pci.Address, index int) (pci.Address, error) {
	d, err := openDir(f.device(pf))
	if err != nil {
		return pci.Address{}, fmt.Errorf("find VF %d of PF %s: %w", index, pf, err)
	}
	defer d.close()
	addr, err := d.vfAddress(index)
	if err != nil {
		return pci.Address{}, fmt.Errorf("find VF %d of PF %s: %w", index, pf, err)
	}
	return addr, nil
}

func (d dir) vfAddress(index int) (pci.Address, error) {
	target, err := d.link("virtfn" + strconv.Itoa(index))
	if err != nil {
		return pci.Address{}, err
	}
	return pci.ParseAddress(path.Base(target))
}

// PFOf returns the PF of a VF. It returns false for a function that is no VF, for a VF that is
// gone, and inside a virtual machine, where no PF is visible.
func (f FS) PFOf(vf pci.Address) (pci.Address, bool) {
	addr, err := pci.ParseAddress(anywhere.linkBase(f.device(vf) + "/physfn"))
	return addr, err == nil
}

// Netdevs returns the names of a function's netdevs in this network namespace, sorted. The list
// is empty if all are in other namespaces or no kernel driver is bound.
func (f FS) Netdevs(addr pci.Address) ([]string, error) {
	return anywhere.list(f.device(addr) + "/net")
}

// FunctionOf returns the PCI function of a netdev in this network namespace. It returns false
// if the netdev is gone or has no PCI function.
func (f FS) FunctionOf(netdev string) (pci.Address, bool) {
	addr, err := pci.ParseAddress(anywhere.linkBase(filepath.Join(f.root, "sys/class/net", netdev, "device")))
	return addr, err == nil
}

// Driver returns the name of the driver that a function is bound to, "" if it is unbound.
func (f FS) Driver(addr pci.Address) (string, error) {
	name := anywhere.linkBase(f.device(addr) + "/driver")
	if name == "" {
		if _, err := os.Stat(f.device(addr)); err != nil {
			return "", fmt.Errorf("read the driver of %s: %w", addr, err)
		}
	}
	return name, nil
}

// common has the attributes that PFs and VFs share.
type common struct {
	vendor, device, driver string
	numaNode, iommuGroup   int
	rdma                   []string
}

func (d dir) common() (common, error) {
	vendor, err := d.attr("vendor")
	if err != nil {
		return common{}, err
	}
	dev, err := d.attr("device")
	if err != nil {
		return common{}, err
	}
	c := common{
		vendor: strings.TrimPrefix(vendor, "0x"), device: strings.TrimPrefix(dev, "0x"),
		driver: d.linkBase("driver"), numaNode: -1, iommuGroup: -1,
	}
	if n, err := d.int("numa_node"); err == nil {
		c.numaNode = n
	}
	if n, err := strconv.Atoi(d.linkBase("iommu_group")); err == nil {
		c.iommuGroup = n
	}
	c.rdma, err = d.list("infiniband")
	return c, err
}

// gone makes the error of a function that vanished while it was read match fs.ErrNotExist: once
// a device is being removed, the kernel returns ENODEV.
func gone(err error) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
	}
	return err
}
