package sysfs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"fairlead.dev/fairlead/pkg/pci"
)

// GroupMember is a function of an IOMMU group.
type GroupMember struct {
	Address pci.Address
	Driver  string // empty: unbound
}

// GroupMembers lists the PCI functions of an IOMMU group, in order of address. A missing group
// is no error.
func (f FS) GroupMembers(group int) ([]GroupMember, error) {
	names, err := anywhere.list(filepath.Join(f.root, "sys/kernel/iommu_groups", strconv.Itoa(group), "devices"))
	if err != nil {
		return nil, fmt.Errorf("list the members of IOMMU group %d: %w", group, err)
	}
	var members []GroupMember
	for _, name := range names {
		addr, err := pci.ParseAddress(name)
		if err != nil {
			continue // a platform device
		}
		members = append(members, GroupMember{addr, anywhere.linkBase(f.device(addr) + "/driver")})
	}
	slices.SortFunc(members, func(a, b GroupMember) int { return a.Address.Compare(b.Address) })
	return members, nil
}

// IOMMUGroup returns the number of a function's IOMMU group, -1 if it has no group.
func (f FS) IOMMUGroup(addr pci.Address) int {
	n, err := strconv.Atoi(anywhere.linkBase(f.device(addr) + "/iommu_group"))
	if err != nil {
		return -1
	}
	return n
}

// VFIOGroup returns the name, below /dev/vfio, of the device node through which a function is
// opened: "12", or "noiommu-0" if VFIO runs without an IOMMU and has created a group of its
// own. ok is false if there is no group.
func (f FS) VFIOGroup(addr pci.Address) (name string, ok bool) {
	n := f.IOMMUGroup(addr)
	if n < 0 {
		return "", false
	}
	if kind, _ := anywhere.attr(f.device(addr) + "/iommu_group/name"); kind == "vfio-noiommu" {
		return "noiommu-" + strconv.Itoa(n), true
	}
	return strconv.Itoa(n), true
}
