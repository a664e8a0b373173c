package sysfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// binder changes the drivers of functions.
type binder struct {
	root   root
	writer Writer
}

func (b binder) bind(addr pci.Address, driver string) error {
	current, err := b.root.driverOf(addr)
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", addr, named(driver), gone(err))
	}
	override, err := b.readOverride(addr)
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", addr, named(driver), err)
	}
	if bound(current, override, driver) {
		return nil
	}
	if driver != "" {
		if _, err := os.Stat(b.root.driver(driver)); err != nil {
			return fmt.Errorf("bind %s to %s: load the module first (modprobe %s): %w", addr, driver, driver, ErrDriverNotLoaded)
		}
	}
	if err := b.rebind(addr, current, driver); err != nil {
		undo := b.restore(addr, current, override)
		return errors.Join(fmt.Errorf("bind %s to %s (it had %s): %w", addr, named(driver), orNone(current), err), undo)
	}
	return nil
}

// bound reports whether nothing is left to do. "The kernel's own choice" means that a kernel
// driver is bound and no override is set.
func bound(current, override, want string) bool {
	if want == "" {
		return override == "" && current != "" && !device.UserspaceDriver(current)
	}
	return current == want
}

func (b binder) rebind(addr pci.Address, current, driver string) error {
	if err := b.writeOverride(addr, driver); err != nil {
		return err
	}
	if current != "" {
		if err := b.unbind(addr); err != nil {
			return err
		}
	}
	probeErr := b.write(b.root.driversProbe(), addr.String())
	// The kernel swallows most probe errors: only the driver link shows the result.
	got, err := b.root.driverOf(addr)
	if err != nil {
		return gone(err)
	}
	if got != "" && (got == driver || driver == "" && !device.UserspaceDriver(got)) {
		return nil
	}
	return b.probeCause(addr, driver, got, probeErr)
}

func (b binder) probeCause(addr pci.Address, driver, got string, probeErr error) error {
	hint := "the kernel log may say why"
	switch {
	case driver == "":
		hint = "no kernel driver took it: is its module loaded, and sriov_drivers_autoprobe of the PF 1?"
	case device.VFIODriver(driver) && b.root.iommuGroup(addr) < 0:
		hint = "it has no IOMMU group: enable the IOMMU (intel_iommu=on or amd_iommu=on)"
	}
	err := fmt.Errorf("after the probe it is bound to %s; %s: %w", orNone(got), hint, ErrRefused)
	if probeErr != nil {
		err = fmt.Errorf("%w (%w)", err, probeErr)
	}
	return err
}

func (b binder) unbind(addr pci.Address) error {
	err := b.write(b.root.device(addr)+"/driver/unbind", addr.String())
	if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) {
		return nil // it had no driver already; the probe is verified anyway
	}
	if err != nil {
		return fmt.Errorf("unbind: %w", err)
	}
	return nil
}

// reprobe unbinds a function and binds it to the same driver again.
func (b binder) reprobe(addr pci.Address) error {
	driver, err := b.root.driverOf(addr)
	if err != nil {
		return fmt.Errorf("rebind %s: %w", addr, gone(err))
	}
	if driver == "" {
		return fmt.Errorf("rebind %s: no driver is bound to it: %w", addr, ErrRefused)
	}
	if err := b.unbind(addr); err != nil {
		return fmt.Errorf("rebind %s: %w", addr, err)
	}
	probeErr := b.write(b.root.driversProbe(), addr.String())
	got, err := b.root.driverOf(addr)
	if err != nil {
		return fmt.Errorf("rebind %s: %w", addr, gone(err))
	}
	if got != driver {
		return fmt.Errorf("rebind %s to %s: %w", addr, driver, b.probeCause(addr, driver, got, probeErr))
	}
	return nil
}

// restore undoes rebind.
func (b binder) restore(addr pci.Address, current, override string) error {
	if err := b.writeOverride(addr, override); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	if bound, err := b.root.driverOf(addr); err != nil || bound != "" || current == "" {
		return nil // still bound, or bound again; or it had no driver before
	}
	if err := b.write(b.root.driversProbe(), addr.String()); err != nil {
		return fmt.Errorf("undo: probe: %w", err)
	}
	if bound, _ := b.root.driverOf(addr); bound != current {
		return fmt.Errorf("undo: it is now bound to %s", orNone(bound))
	}
	return nil
}

// readOverride returns "" if no override is set; the kernel then prints "(null)".
func (b binder) readOverride(addr pci.Address) (string, error) {
	text, err := anywhere.attr(b.root.device(addr) + "/driver_override")
	if err != nil {
		return "", gone(err)
	}
	if text == "(null)" {
		return "", nil
	}
	return text, nil
}

// writeOverride clears the override with a newline: the kernel ignores an empty write.
func (b binder) writeOverride(addr pci.Address, driver string) error {
	if err := b.write(b.root.device(addr)+"/driver_override", driver+"\n"); err != nil {
		return fmt.Errorf("set driver_override: %w", gone(err))
	}
	return nil
}

func (b binder) write(path, text string) error { return b.writer.WriteAttr(path, []byte(text)) }

func named(driver string) string {
	if driver == "" {
		return "the kernel's own driver"
	}
	return driver
}

func orNone(driver string) string { return cmp.Or(driver, "no driver") }
