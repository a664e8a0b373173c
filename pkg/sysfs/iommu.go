package sysfs

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
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
	names, err := anywhere.list(f.root.iommuMembers(group))
	if err != nil {
		return nil, fmt.Errorf("list the members of IOMMU group %d: %w", group, err)
	}
	var members []GroupMember
	for _, name := range names {
		addr, err := pci.ParseAddress(name)
		if err != nil {
			continue // a platform device
		}
		members = append(members, GroupMember{addr, anywhere.linkBase(f.root.device(addr) + "/driver")})
	}
	slices.SortFunc(members, func(a, b GroupMember) int { return a.Address.Compare(b.Address) })
	return members, nil
}

// IOMMUGroup returns the number of a function's IOMMU group, -1 if it has no group.
func (f FS) IOMMUGroup(addr pci.Address) int { return f.root.iommuGroup(addr) }

// hostDev is the host's /dev as a privileged container with the host's PIDs sees it. The
// container's own /dev has only the nodes that existed when it started.
const hostDev = "proc/1/root/dev"

// VFIOOpen reports whether a process has a function, or another function of its IOMMU group,
// open through VFIO: the kernel then refuses to open the group again. Any other error, such as
// a missing node, proves nothing and returns false.
func (f FS) VFIOOpen(addr pci.Address) bool {
	if driver, err := f.root.driverOf(addr); err != nil || !device.VFIODriver(driver) {
		return false
	}
	group, ok := f.root.vfioGroup(addr)
	if !ok {
		return false
	}
	for _, dev := range []string{hostDev, "dev"} {
		err := f.open(f.root.path(dev, "vfio", group))
		if err == nil || errors.Is(err, unix.EBUSY) {
			return err != nil
		}
	}
	return false
}

func openNode(path string) error {
	fd, err := retryEINTR(func() (int, error) { return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
