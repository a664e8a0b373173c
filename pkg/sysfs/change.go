package sysfs

import (
	"fmt"

	"fairlead.dev/fairlead/pkg/pci"
)

// BindDriver binds a function to the named driver, or with "" to the one that the kernel
// chooses by itself, and verifies it. It is idempotent: a function that is already bound as
// requested is not touched. On failure the driver_override and, as far as possible, the binding
// are restored.
//
// The caller makes sure that nobody uses the function: unbinding removes its netdev from
// whatever namespace it is in. If a process has the function open through VFIO, the kernel
// waits, with the device locked, until the process closes it. BindDriver then gives up with
// ErrBusy. The change cannot be withdrawn: it completes in the background once the process lets
// go.
func (f FS) BindDriver(addr pci.Address, driver string) error {
	return f.pending.within(f.bindWithin, addr, fmt.Sprintf("bind %s to %s", addr, named(driver)), func() error { return f.binder().bind(addr, driver) })
}

// Rebind unbinds a function from its driver and binds it to the same driver again. The function
// then has a new netdev, without anything that a former user left on it: programs, filters,
// queues, names. BindDriver's rules apply.
func (f FS) Rebind(addr pci.Address) error {
	return f.pending.within(f.bindWithin, addr, fmt.Sprintf("rebind %s", addr), func() error { return f.binder().reprobe(addr) })
}

func (f FS) binder() binder { return binder{f.root, f.writer} }

// SetNumVFs gives a PF n VFs, and verifies it by reading back. If the PF already has n VFs,
// nothing is written. The kernel goes from N to M only through 0, which removes every VF, even
// one in use. That step is never taken implicitly: a change between two numbers above 0 fails
// with ErrBusy and changes nothing.
//
// On return the VFs are on the bus and drivers have been offered them. Their netdevs, and the
// names that udev gives, may appear later. Like BindDriver, it gives up with ErrBusy if the
// kernel waits for a process that has a VF open.
func (f FS) SetNumVFs(pf pci.Address, n int) error {
	return f.pending.within(f.numVFsWithin, pf, fmt.Sprintf("set %d VFs on PF %s", n, pf), func() error { return vfCounter{f.root, f.writer}.set(pf, n) })
}
