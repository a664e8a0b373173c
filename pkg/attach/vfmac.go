package attach

import (
	"context"
	"errors"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/device"
)

// A VF has two MACs: its netdev's, and the administrative one at the PF, by which
// the NIC filters. Drivers differ in when each may be written:
//   - igb: once the PF has set one, the VF may not set its own (EADDRNOTAVAIL, and
//     no packet passes), until the PF sets it to zero. The VF's own then shows at
//     the PF as well. A write may report success and change nothing at the PF.
//   - iavf: a write at the PF resets the VF, which then follows within a second.
//
// So the netdev's comes first, then the PF's. If the netdev refuses, the PF gives its
// own up before. Both are read back, more than once.
const (
	macTries = 10
	macPause = 100 * time.Millisecond
)

// configure sets everything that is asked of the PF, and the netdev's MAC.
func (w *vfWork) configure(ctx context.Context) error {
	asked := w.m.VF.Asked
	if asked.MAC == "" {
		return w.configureAtPF(ctx)
	}
	netErr := w.net.writeMAC(asked.MAC)
	if netErr != nil {
		w.net.forget()
	}
	if asked.AdminMAC == nil {
		if netErr != nil {
			netErr = w.retryMAC(ctx, netErr, func() error { return w.writeMAC(ctx) })
		}
		return errors.Join(netErr, w.configureAtPF(ctx))
	}
	if netErr != nil && w.writeAdminMAC(ctx, device.NoMAC) == nil {
		netErr = w.net.writeMAC(asked.MAC)
	}
	macErr, err := w.writeAtPF(ctx)
	if err != nil {
		return err
	}
	if netErr != nil { // a driver whose netdev takes no MAC but the PF's
		macErr = w.net.writeMAC(asked.MAC)
	}
	if macErr == nil {
		return nil
	}
	return w.retryMAC(ctx, macErr, func() error { return w.writeMAC(ctx) })
}

// configureAtPF sets everything that is asked of the PF.
func (w *vfWork) configureAtPF(ctx context.Context) error {
	macErr, err := w.writeAtPF(ctx)
	if err != nil || macErr == nil {
		return err
	}
	return w.retryMAC(ctx, macErr, func() error { return w.writeAdminMAC(ctx, *w.m.VF.Asked.AdminMAC) })
}

// writeAtPF writes the settings that differ from the VF's original ones, or may differ
// since the driver does not report them, and reads them back. Knobs that are right
// already cost nothing, and a driver without one is not asked for
// the default that it reports (link state auto). The MAC is always written: igb shows
// the VF's own, which is not set for it. An error about the MAC is returned apart.
func (w *vfWork) writeAtPF(ctx context.Context) (macErr, err error) {
	asked, mac := w.m.VF.Asked, macKnob()
	knobs := slices.DeleteFunc(device.KnobsAt(device.AtPF), func(k device.Knob) bool {
		known := !slices.Contains(w.m.VF.Assumed, k.Name)
		return !k.Has(asked) || known && k.Same(asked, w.m.VF.Original.Settings)
	})
	if mac.Has(asked) {
		knobs = append(without(knobs, mac.Name), mac)
	}
	if len(knobs) == 0 {
		return nil, nil
	}
	if err := w.pf.write(ctx, asked, knobs); err != nil {
		return nil, err
	}
	now, err := w.pf.readBack(asked, without(knobs, mac.Name))
	if err == nil && mac.Has(asked) && mac.Has(now) && !mac.Equal(asked, now) {
		_, macErr = w.pf.readBack(asked, []device.Knob{mac})
	}
	return macErr, err
}

// retryMAC repeats a write that has failed, with pauses.
func (w *vfWork) retryMAC(ctx context.Context, err error, write func() error) error {
	for try := 1; err != nil && !errors.Is(err, errNoNetdev) && try < macTries; try++ {
		if w.set.pause(ctx, macPause) != nil {
			return err // out of time; the driver's error says more than that
		}
		w.net.forget()
		err = write()
	}
	return err
}

// writeMAC sets both MACs to those asked for.
func (w *vfWork) writeMAC(ctx context.Context) error {
	return w.writeBoth(ctx, w.m.VF.Asked.MAC, w.m.VF.Asked.AdminMAC)
}

func (w *vfWork) writeBoth(ctx context.Context, mac string, admin *string) error {
	if admin == nil {
		return w.net.writeMAC(mac)
	}
	if err := w.net.writeMAC(mac); err != nil {
		if w.writeAdminMAC(ctx, device.NoMAC) != nil || w.net.writeMAC(mac) != nil {
			if adminErr := w.writeAdminMAC(ctx, *admin); adminErr != nil {
				return errors.Join(err, adminErr)
			}
			return w.net.writeMAC(mac)
		}
	}
	if err := w.writeAdminMAC(ctx, *admin); err != nil {
		return err
	}
	w.net.forget()
	return w.net.writeMAC(mac) // a comparison, if the netdev has kept it
}

// writeAdminMAC sets the MAC at the PF, even if it reads the same, and reads it back.
func (w *vfWork) writeAdminMAC(ctx context.Context, mac string) error {
	want, row := device.Settings{AdminMAC: &mac}, []device.Knob{macKnob()}
	w.adminMACWritten = true
	if err := w.pf.write(ctx, want, row); err != nil {
		return err
	}
	_, err := w.pf.readBack(want, row)
	return err
}
