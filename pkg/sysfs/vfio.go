package sysfs

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// hostDev is the host's /dev as a privileged container with the host's PIDs sees it. The
// container's own /dev has only the nodes that existed when it started.
const hostDev = "proc/1/root/dev"

// VFIOOpen reports whether a process has a function, or another function of its IOMMU group,
// open through VFIO: the kernel then refuses to open the group again. Any other error, such as
// a missing node, proves nothing and returns false.
func (f FS) VFIOOpen(addr pci.Address) bool {
	if driver, err := f.Driver(addr); err != nil || !device.VFIODriver(driver) {
		return false
	}
	group, ok := f.VFIOGroup(addr)
	if !ok {
		return false
	}
	for _, dev := range []string{hostDev, "dev"} {
		err := f.open(filepath.Join(f.root, dev, "vfio", group))
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

// UIO returns the name, below /dev, of the node through which a function bound to a uio driver
// is opened. ok is false if there is no such node.
func (f FS) UIO(addr pci.Address) (name string, ok bool) {
	names, err := anywhere.list(f.device(addr) + "/uio")
	if err != nil || len(names) == 0 {
		return "", false
	}
	return names[0], true
}
