package sysfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/pci"
)

// SetNumVFs gives a PF n VFs, and verifies it by reading back. If the PF already has n VFs,
// nothing is written. The kernel goes from N to M only through 0, which removes every VF, even
// one in use. That step is never taken implicitly: a change between two numbers above 0 fails
// with ErrBusy and changes nothing.
//
// On return the VFs are on the bus and drivers have been offered them. Their netdevs, and the
// names that udev gives, may appear later. Like BindDriver, it gives up with ErrBusy if the
// kernel waits for a process that has a VF open.
func (f FS) SetNumVFs(pf pci.Address, n int) error {
	return f.within(f.numVFsWithin, pf, fmt.Sprintf("set %d VFs on PF %s", n, pf), func() error { return f.setNumVFs(pf, n) })
}

func (f FS) setNumVFs(pf pci.Address, n int) error {
	current, err := f.readNumVFs(pf, n)
	if err != nil || current == n {
		return err
	}
	if current > 0 && n > 0 {
		return fmt.Errorf("set %d VFs on PF %s: it has %d, and the kernel changes the number only through 0: free all its VFs and set 0 first: %w",
			n, pf, current, ErrBusy)
	}
	if err := f.write(f.device(pf)+"/sriov_numvfs", fmt.Sprint(n)); err != nil {
		return fmt.Errorf("set %d VFs on PF %s: %w", n, pf, numVFsCause(err))
	}
	got, err := anywhere.int(f.device(pf) + "/sriov_numvfs")
	if err != nil {
		return fmt.Errorf("set %d VFs on PF %s: read back: %w", n, pf, gone(err))
	}
	if got != n {
		return fmt.Errorf("set %d VFs on PF %s: the driver reported success but created %d; the kernel log may say why: %w", n, pf, got, ErrRefused)
	}
	for i := range n {
		if _, err := f.VFAddress(pf, i); err != nil {
			return fmt.Errorf("set %d VFs on PF %s: read back: %w", n, pf, err)
		}
	}
	return nil
}

func (f FS) readNumVFs(pf pci.Address, n int) (current int, err error) {
	total, err := anywhere.int(f.device(pf) + "/sriov_totalvfs")
	if err != nil {
		return 0, fmt.Errorf("set %d VFs on %s: not a function that can have VFs (is SR-IOV enabled in the firmware of NIC and machine?): %w", n, pf, gone(err))
	}
	if n < 0 || n > total {
		return 0, fmt.Errorf("set %d VFs on PF %s: it supports 0 to %d (sriov_totalvfs): %w", n, pf, total, ErrRefused)
	}
	if current, err = anywhere.int(f.device(pf) + "/sriov_numvfs"); err != nil {
		return 0, fmt.Errorf("set %d VFs on PF %s: %w", n, pf, gone(err))
	}
	return current, nil
}

// numVFsCause explains the errno of a refused sriov_numvfs write.
func numVFsCause(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("the PF has VFs already, or one is assigned to a virtual machine: %w (%w)", ErrBusy, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("the PF's driver is not loaded or does not support SR-IOV: %w (%w)", ErrRefused, err)
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("no bus numbers or memory for the VFs: try the kernel parameter pci=realloc or pci=assign-busses: %w (%w)", ErrRefused, err)
	}
	return fmt.Errorf("the kernel log may say why: %w (%w)", ErrRefused, err)
}
