package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// pfKnobs reads and writes the settings of one VF at its PF. To read them costs the
// driver a walk over all its VFs, so they are read once before a change and once after
// it. To write them takes one message.
type pfKnobs struct {
	host   *Links
	sysfs  Sysfs
	vf     pci.Address
	index  int         // the VF's number
	pf     pci.Address // zero: no PF is in reach
	pfName string      // the PF's netdev when it was recorded
	uplink link.Link   // the PF's netdev; read when it is first needed
	last   device.Settings
	fresh  bool // last was read after the last write
	busy   *patience
}

// link finds the PF's netdev by the PF's address, whatever it is called by now.
func (k *pfKnobs) link() (link.Link, error) {
	if k.uplink.Index != 0 {
		return k.uplink, nil
	}
	name, err := k.netdevName()
	if err != nil {
		return link.Link{}, err
	}
	if name == "" {
		driver, _ := k.sysfs.Driver(k.pf)
		return link.Link{}, fmt.Errorf("PF %s of VF %s has no interface on the host now (driver %q), so the VF cannot be configured", k.pf, k.vf, driver)
	}
	k.uplink, err = k.host.ByName(name)
	return k.uplink, err
}

// netdevName avoids to read the whole PF.
func (k *pfKnobs) netdevName() (string, error) {
	names, err := k.sysfs.Netdevs(k.pf)
	switch {
	case err != nil || len(names) == 0:
		return "", err
	case slices.Contains(names, k.pfName): // a NIC with two ports in one function
		return k.pfName, nil
	}
	return names[0], nil
}

// read reads the VF's settings.
func (k *pfKnobs) read() (device.Settings, error) {
	pf, err := k.link()
	if err != nil {
		return device.Settings{}, err
	}
	all, err := k.host.VFs(pf.Index)
	if err != nil {
		return device.Settings{}, err
	}
	settings, ok := all[k.index]
	if !ok {
		return settings, fmt.Errorf("PF %s does not have VF %d now; it has %d VFs", pf.Name, k.index, len(all))
	}
	k.last, k.fresh = settings, true
	return settings, nil
}

// write sets knobs to their values in want, by one message. If the PF refuses it, the
// knobs are set one by one, so that the error names those that are refused.
func (k *pfKnobs) write(ctx context.Context, want device.Settings, knobs []device.Knob) error {
	if len(knobs) == 0 {
		return nil
	}
	pf, err := k.link()
	if err != nil {
		return err
	}
	k.fresh = false
	err = k.busy.wait(ctx, func() error { return k.host.SetVF(pf.Index, k.index, want.Only(knobs...)) })
	if err == nil {
		return nil
	}
	if len(knobs) == 1 {
		return k.refused(knobs[0], err)
	}
	if isBusy(err) {
		return fmt.Errorf("set VF %d at PF %s: driver %s refused it: %w%s", k.index, k.uplink.Name, k.driver(), err, errnoName(err))
	}
	var errs []error
	for _, knob := range knobs {
		if err := k.host.SetVF(pf.Index, k.index, want.Only(knob)); err != nil {
			errs = append(errs, k.refused(knob, err))
		}
	}
	return errors.Join(errs...)
}

// readBack reads the settings, and reports those of the knobs that are not as wanted:
// some drivers report success and change nothing. A setting that the driver does not
// report is taken as set.
func (k *pfKnobs) readBack(want device.Settings, knobs []device.Knob) (now device.Settings, err error) {
	if now = k.last; !k.fresh {
		if now, err = k.read(); err != nil {
			return now, err
		}
	}
	var errs []error
	for _, knob := range knobs {
		if knob.Has(now) && !knob.Equal(want, now) {
			errs = append(errs, fmt.Errorf("driver %s of PF %s took %s %s for VF %d, but reads back %s",
				k.driver(), k.uplink.Name, knob.Name, knob.Text(want), k.index, knob.Text(now)))
		}
	}
	return now, errors.Join(errs...)
}

func (k *pfKnobs) driver() string {
	if driver, err := k.sysfs.Driver(k.pf); err == nil && driver != "" {
		return driver
	}
	return "(unknown)"
}

// refused adds to an errno the driver's name and a remedy.
func (k *pfKnobs) refused(knob device.Knob, err error) error {
	hint := ""
	switch {
	case errors.Is(err, link.ErrUnsupported):
		hint = "; this driver does not have it: leave the field out of the network"
	case !k.uplink.Up:
		hint = fmt.Sprintf("; PF %s is down: bring it up first", k.uplink.Name)
	case errors.Is(err, unix.EINVAL):
		hint = "; the driver takes no such value (a rate above the link's speed, a minimum where there is none)"
	}
	return fmt.Errorf("set the VF's %s: driver %s of PF %s refused it for VF %d: %w%s%s", knob.Name, k.driver(), k.uplink.Name, k.index, err, errnoName(err), hint)
}

// macKnob is the row of device.Knobs for the MAC, which is set with the netdev's.
func macKnob() device.Knob {
	i := slices.IndexFunc(device.Knobs, func(k device.Knob) bool { return k.Name == device.KnobMAC })
	return device.Knobs[i]
}

// without returns the knobs but one.
func without(knobs []device.Knob, name string) []device.Knob {
	return slices.DeleteFunc(slices.Clone(knobs), func(k device.Knob) bool { return k.Name == name })
}
