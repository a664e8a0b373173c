package sysfs

import (
	"fmt"

	"fairlead.dev/fairlead/pkg/pci"
)

// Rebind unbinds a function from its driver and binds it to the same driver again. The function
// then has a new netdev, without anything that a former user left on it: programs, filters,
// queues, names. BindDriver's rules apply.
func (f FS) Rebind(addr pci.Address) error {
	return f.within(f.bindWithin, addr, fmt.Sprintf("rebind %s", addr), func() error { return f.reprobe(addr) })
}

func (f FS) reprobe(addr pci.Address) error {
	driver, err := f.Driver(addr)
	if err != nil {
		return fmt.Errorf("rebind %s: %w", addr, gone(err))
	}
	if driver == "" {
		return fmt.Errorf("rebind %s: no driver is bound to it: %w", addr, ErrRefused)
	}
	if err := f.unbind(addr); err != nil {
		return fmt.Errorf("rebind %s: %w", addr, err)
	}
	probeErr := f.write(f.driversProbe(), addr.String())
	got, err := f.Driver(addr)
	if err != nil {
		return fmt.Errorf("rebind %s: %w", addr, gone(err))
	}
	if got != driver {
		return fmt.Errorf("rebind %s to %s: %w", addr, driver, f.probeCause(addr, driver, got, probeErr))
	}
	return nil
}
