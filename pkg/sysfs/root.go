package sysfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"fairlead.dev/fairlead/pkg/pci"
)

// root is the directory that contains sys and dev. It has the names of the files that several
// classes share, and reads the links among them.
type root string

func (r root) path(elem ...string) string {
	return filepath.Join(append([]string{string(r)}, elem...)...)
}

func (r root) devices() string { return filepath.Join(string(r), "sys/bus/pci/devices") }

func (r root) device(addr pci.Address) string { return r.devices() + "/" + addr.String() }

func (r root) driver(name string) string { return r.path("sys/bus/pci/drivers", name) }

func (r root) driversProbe() string { return r.path("sys/bus/pci/drivers_probe") }

func (r root) iommuMembers(group int) string {
	return r.path("sys/kernel/iommu_groups", strconv.Itoa(group), "devices")
}

// driverOf implements FS.Driver.
func (r root) driverOf(addr pci.Address) (string, error) {
	name := anywhere.linkBase(r.device(addr) + "/driver")
	if name == "" {
		if _, err := os.Stat(r.device(addr)); err != nil {
			return "", fmt.Errorf("read the driver of %s: %w", addr, err)
		}
	}
	return name, nil
}

// vfAddress implements FS.VFAddress.
func (r root) vfAddress(pf pci.Address, index int) (pci.Address, error) {
	d, err := openDir(r.device(pf))
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

// iommuGroup implements FS.IOMMUGroup.
func (r root) iommuGroup(addr pci.Address) int {
	n, err := strconv.Atoi(anywhere.linkBase(r.device(addr) + "/iommu_group"))
	if err != nil {
		return -1
	}
	return n
}

// vfioGroup returns the name, below /dev/vfio, of the device node through which a function is
// opened: "12", or "noiommu-0" if VFIO runs without an IOMMU and has created a group of its
// own. ok is false if there is no group.
func (r root) vfioGroup(addr pci.Address) (name string, ok bool) {
	n := r.iommuGroup(addr)
	if n < 0 {
		return "", false
	}
	if kind, _ := anywhere.attr(r.device(addr) + "/iommu_group/name"); kind == "vfio-noiommu" {
		return "noiommu-" + strconv.Itoa(n), true
	}
	return strconv.Itoa(n), true
}

// uio returns the name, below /dev, of the node through which a function bound to a uio driver
// is opened. ok is false if there is no such node.
func (r root) uio(addr pci.Address) (name string, ok bool) {
	names, err := anywhere.list(r.device(addr) + "/uio")
	if err != nil || len(names) == 0 {
		return "", false
	}
	return names[0], true
}
