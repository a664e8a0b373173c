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
	return f.within(f.bindWithin, addr, fmt.Sprintf("bind %s to %s", addr, named(driver)), func() error { return f.bind(addr, driver) })
}

func (f FS) bind(addr pci.Address, driver string) error {
	current, err := f.Driver(addr)
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", addr, named(driver), gone(err))
	}
	override, err := f.readOverride(addr)
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", addr, named(driver), err)
	}
	if bound(current, override, driver) {
		return nil
	}
	if driver != "" {
		if _, err := os.Stat(f.driver(driver)); err != nil {
			return fmt.Errorf("bind %s to %s: load the module first (modprobe %s): %w", addr, driver, driver, ErrDriverNotLoaded)
		}
	}
	if err := f.rebind(addr, current, driver); err != nil {
		undo := f.restore(addr, current, override)
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

func (f FS) rebind(addr pci.Address, current, driver string) error {
	if err := f.writeOverride(addr, driver); err != nil {
		return err
	}
	if current != "" {
		if err := f.unbind(addr); err != nil {
			return err
		}
	}
	probeErr := f.write(f.driversProbe(), addr.String())
	// The kernel swallows most probe errors: only the driver link shows the result.
	got, err := f.Driver(addr)
	if err != nil {
		return gone(err)
	}
	if got != "" && (got == driver || driver == "" && !device.UserspaceDriver(got)) {
		return nil
	}
	return f.probeCause(addr, driver, got, probeErr)
}

func (f FS) probeCause(addr pci.Address, driver, got string, probeErr error) error {
	hint := "the kernel log may say why"
	switch {
	case driver == "":
		hint = "no kernel driver took it: is its module loaded, and sriov_drivers_autoprobe of the PF 1?"
	case device.VFIODriver(driver) && f.IOMMUGroup(addr) < 0:
		hint = "it has no IOMMU group: enable the IOMMU (intel_iommu=on or amd_iommu=on), or VFIO's enable_unsafe_noiommu_mode"
	}
	err := fmt.Errorf("after the probe it is bound to %s; %s: %w", orNone(got), hint, ErrRefused)
	if probeErr != nil {
		err = fmt.Errorf("%w (%w)", err, probeErr)
	}
	return err
}

func (f FS) unbind(addr pci.Address) error {
	err := f.write(f.device(addr)+"/driver/unbind", addr.String())
	if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) {
		return nil // it had no driver already; the probe is verified anyway
	}
	if err != nil {
		return fmt.Errorf("unbind: %w", err)
	}
	return nil
}

// restore undoes rebind.
func (f FS) restore(addr pci.Address, current, override string) error {
	if err := f.writeOverride(addr, override); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	if bound, err := f.Driver(addr); err != nil || bound != "" || current == "" {
		return nil // still bound, or bound again; or it had no driver before
	}
	if err := f.write(f.driversProbe(), addr.String()); err != nil {
		return fmt.Errorf("undo: probe: %w", err)
	}
	if bound, _ := f.Driver(addr); bound != current {
		return fmt.Errorf("undo: it is now bound to %s", orNone(bound))
	}
	return nil
}

// readOverride returns "" if no override is set; the kernel then prints "(null)".
func (f FS) readOverride(addr pci.Address) (string, error) {
	text, err := anywhere.attr(f.device(addr) + "/driver_override")
	if err != nil {
		return "", gone(err)
	}
	if text == "(null)" {
		return "", nil
	}
	return text, nil
}

// writeOverride clears the override with a newline: the kernel ignores an empty write.
func (f FS) writeOverride(addr pci.Address, driver string) error {
	if err := f.write(f.device(addr)+"/driver_override", driver+"\n"); err != nil {
		return fmt.Errorf("set driver_override: %w", gone(err))
	}
	return nil
}

func (f FS) write(path, text string) error { return f.writer.WriteAttr(path, []byte(text)) }

func named(driver string) string {
	if driver == "" {
		return "the kernel's own driver"
	}
	return driver
}

func orNone(driver string) string { return cmp.Or(driver, "no driver") }
