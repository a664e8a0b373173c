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
