package sysfs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/pci"
)

// vfCounter changes how many VFs a PF has.
type vfCounter struct {
	root   root
	writer Writer
}

func (c vfCounter) set(pf pci.Address, n int) error {
	current, err := c.read(pf, n)
	if err != nil || current == n {
		return err
	}
	if current > 0 && n > 0 {
		return fmt.Errorf("set %d VFs on PF %s: it has %d, and the kernel changes the number only through 0: free all its VFs and set 0 first: %w",
			n, pf, current, ErrBusy)
	}
	if err := c.writer.WriteAttr(c.root.device(pf)+"/sriov_numvfs", []byte(fmt.Sprint(n))); err != nil {
		return fmt.Errorf("set %d VFs on PF %s: %w", n, pf, numVFsCause(err))
	}
	got, err := anywhere.int(c.root.device(pf) + "/sriov_numvfs")
	if err != nil {
		return fmt.Errorf("set %d VFs on PF %s: read back: %w", n, pf, gone(err))
	}
	if got != n {
		return fmt.Errorf("set %d VFs on PF %s: the driver reported success but created %d; the kernel log may say why: %w", n, pf, got, ErrRefused)
	}
	for i := range n {
		if _, err := c.root.vfAddress(pf, i); err != nil {
			return fmt.Errorf("set %d VFs on PF %s: read back: %w", n, pf, err)
		}
	}
	return nil
}

func (c vfCounter) read(pf pci.Address, n int) (current int, err error) {
	total, err := anywhere.int(c.root.device(pf) + "/sriov_totalvfs")
	if err != nil {
		return 0, fmt.Errorf("set %d VFs on %s: not a function that can have VFs (is SR-IOV enabled in the firmware of NIC and machine?): %w", n, pf, gone(err))
	}
	if n < 0 || n > total {
		return 0, fmt.Errorf("set %d VFs on PF %s: it supports 0 to %d (sriov_totalvfs): %w", n, pf, total, ErrRefused)
	}
	if current, err = anywhere.int(c.root.device(pf) + "/sriov_numvfs"); err != nil {
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
