package sysfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

func readPF(r root, addr pci.Address) (device.PF, error) {
	d, err := openDir(r.device(addr))
	if err != nil {
		return device.PF{}, err
	}
	defer d.close()
	total, err := d.int("sriov_totalvfs")
	if err != nil {
		return device.PF{}, err
	}
	pf, err := d.physical(r, addr)
	pf.TotalVFs, pf.NumVFs = total, len(d.slots(addr, total))
	if probe, err := d.int("sriov_drivers_autoprobe"); err == nil {
		pf.NoAutoprobe = probe == 0
	}
	return pf, err
}

func readNIC(r root, addr pci.Address) (device.PF, error) {
	d, err := openDir(r.device(addr))
	if err != nil {
		return device.PF{}, err
	}
	defer d.close()
	if d.linkBase("physfn") != "" {
		return device.PF{}, fmt.Errorf("it is a VF: %w", fs.ErrNotExist)
	}
	return d.physical(r, addr)
}

// physical reads the attributes that PFs and NICs without SR-IOV share.
func (d dir) physical(r root, addr pci.Address) (device.PF, error) {
	if err := d.networkClass(); err != nil {
		return device.PF{}, err
	}
	c, err := d.common()
	if err != nil {
		return device.PF{}, err
	}
	pf := device.PF{
		Address: addr, Vendor: c.vendor, Device: c.device, Driver: c.driver,
		NUMANode: c.numaNode, IOMMUGroup: c.iommuGroup, RDMADevices: c.rdma, ACPIIndex: c.acpiIndex,
		Nodes: readNodes(r, d, addr, c.driver),
	}
	n, others, ok, err := d.uplink()
	pf.OtherNetdevs = others
	if err != nil || !ok {
		return pf, err
	}
	defer n.close()
	pf.Netdev, pf.MAC, pf.MTU, pf.LinkType = n.name, n.mac(), n.mtu(), n.linkType()
	pf.Ifindex, pf.OperState, pf.Carrier = n.ifindex(), n.operState(), n.carrier()
	return pf, nil
}

func readVF(r root, slot VFSlot) (device.VF, error) {
	d, err := openDir(r.device(slot.Address))
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
		NUMANode: c.numaNode, IOMMUGroup: c.iommuGroup, RDMADevices: c.rdma, ACPIIndex: c.acpiIndex,
		Nodes: readNodes(r, d, slot.Address, c.driver),
	}
	if vf.Driver == "" || vf.Userspace() {
		return vf, nil
	}
	n, _, ok, err := d.uplink()
	if err != nil || !ok {
		return vf, err
	}
	defer n.close()
	vf.Netdev, vf.MAC, vf.MTU, vf.LinkType = n.name, n.mac(), n.mtu(), n.linkType()
	return vf, nil
}

// readNodes reads the names of the device nodes through which userspace opens a function.
func readNodes(r root, d dir, addr pci.Address, driver string) device.Nodes {
	var nodes device.Nodes
	switch {
	case device.VFIODriver(driver):
		nodes.VFIOGroup, _ = r.vfioGroup(addr)
	case device.UserspaceDriver(driver):
		nodes.UIO, _ = r.uio(addr)
	}
	// It is read even without RDMA devices: if an RDMA device is in a pod's namespace, its node
	// stays. The list is empty while ib_uverbs is not loaded.
	nodes.Verbs, _ = d.list("infiniband_verbs")
	return nodes
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

func (d dir) slots(pf pci.Address, total int) []VFSlot {
	var slots []VFSlot
	for i := range total {
		if addr, err := d.vfAddress(i); err == nil {
			slots = append(slots, VFSlot{addr, pf, i})
		}
	}
	return slots
}

func (d dir) vfAddress(index int) (pci.Address, error) {
	target, err := d.link("virtfn" + strconv.Itoa(index))
	if err != nil {
		return pci.Address{}, err
	}
	return pci.ParseAddress(path.Base(target))
}

// common has the attributes that PFs and VFs share.
type common struct {
	vendor, device, driver string
	acpiIndex              string // empty on most devices
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
	c.acpiIndex, _ = d.attr("acpi_index")
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
