package attach

import (
	"context"
	"errors"

	"fairlead.dev/fairlead/pkg/device"
)

// restore gives the VF its settings at the PF and its MAC back. The MAC is always
// compared: the pod may have changed it though its network asked for none (dp#685:
// duplicates).
func (w *vfWork) restore(ctx context.Context) error {
	was := w.m.VF.Original
	w.net.forget()
	switch {
	case was.MAC == "":
		return w.restoreAtPF(ctx)
	case !w.net.exists(): // the PF's MAC is still there, by which the NIC filters
		return w.restoreKnobs(ctx, true, w.writeBackAdminMAC)
	case was.AdminMAC == nil:
		return errors.Join(w.restoreKnobs(ctx, false, nil), ignoreNoNetdev(w.writeBackNetdevMAC(ctx)))
	}
	return w.restoreKnobs(ctx, true, w.writeBackMAC)
}

// restoreAtPF serves VFs without a netdev.
func (w *vfWork) restoreAtPF(ctx context.Context) error {
	return w.restoreKnobs(ctx, w.m.VF.Asked.AdminMAC != nil, w.writeBackAdminMAC)
}

// restoreKnobs writes back those of the knobs that were asked for and differ, and has
// the MAC restored too if that is wanted. If the settings cannot be read, the netdev's
// MAC is restored all the same.
func (w *vfWork) restoreKnobs(ctx context.Context, withMAC bool, restoreMAC func(context.Context, device.Settings) error) error {
	was := w.m.VF.Original.Settings
	knobs := w.askedKnobs()
	withMAC = withMAC && was.AdminMAC != nil
	if len(knobs) == 0 && !withMAC {
		return nil
	}
	now, err := w.pf.read()
	if err != nil {
		return errors.Join(err, ignoreNoNetdev(w.writeBackNetdevMAC(ctx)))
	}
	differ := device.Differ(device.AtPF, was.Only(knobs...), now)
	err = w.pf.write(ctx, was, differ)
	if withMAC {
		return errors.Join(err, ignoreNoNetdev(restoreMAC(ctx, now)), w.verify(was, differ))
	}
	return errors.Join(err, w.verify(was, differ))
}

func (w *vfWork) verify(was device.Settings, knobs []device.Knob) error {
	if len(knobs) == 0 {
		return nil
	}
	_, err := w.pf.readBack(was, knobs)
	return err
}

// askedKnobs are the knobs at the PF that were asked for and can be restored. The MAC
// has its own way.
func (w *vfWork) askedKnobs() []device.Knob {
	var out []device.Knob
	for _, k := range without(device.KnobsAt(device.AtPF), device.KnobMAC) {
		if k.Has(w.m.VF.Asked) && k.Has(w.m.VF.Original.Settings) {
			out = append(out, k)
		}
	}
	return out
}

func (w *vfWork) writeBackNetdevMAC(ctx context.Context) error {
	mac := w.m.VF.Original.MAC
	if mac == "" || !w.net.exists() {
		return nil
	}
	write := func() error { return w.net.writeMAC(mac) }
	return w.retryMAC(ctx, write(), write)
}

// writeBackAdminMAC serves VFs without a netdev.
func (w *vfWork) writeBackAdminMAC(ctx context.Context, now device.Settings) error {
	was := w.m.VF.Original.AdminMAC
	if now.AdminMAC != nil && *now.AdminMAC == *was {
		return nil
	}
	write := func() error { return w.writeAdminMAC(ctx, *was) }
	return w.retryMAC(ctx, write(), write)
}

// writeBackMAC gives the MAC back to the VF as it was.
func (w *vfWork) writeBackMAC(ctx context.Context, now device.Settings) error {
	first := true
	write := func() error {
		if !first {
			var err error
			if now, err = w.pf.read(); err != nil {
				return errors.Join(err, w.net.writeMAC(w.m.VF.Original.MAC))
			}
		}
		first = false
		return w.tryWriteBack(ctx, now)
	}
	err := w.retryMAC(ctx, write(), write)
	for look := 0; err == nil && w.adminMACWritten && look < resetLooks(w.net.driver); look++ {
		if w.set.pause(ctx, macPause) != nil {
			break
		}
		w.net.forget()
		err = w.retryMAC(ctx, write(), write)
	}
	return err
}

// resetLooks returns how often the MACs are read again after they were restored. A write at the
// PF has ice and i40e reset the VF. Its driver notices that within a second or so, and
// then the netdev may have a random MAC in place of the restored one (meta-cni D1).
func resetLooks(driver string) int {
	if driver == "iavf" || driver == "i40evf" {
		return 12
	}
	return 0
}

// tryWriteBack zeroes the PF's MAC first. If none was ever set there, that is enough
// to leave the VF free again.
func (w *vfWork) tryWriteBack(ctx context.Context, now device.Settings) error {
	was := w.m.VF.Original
	l, err := w.net.here()
	if err != nil {
		return err
	}
	if l.MAC == was.MAC && w.isOriginal(now) {
		return nil
	}
	if w.isOriginal(now) { // each write at the PF may reset the VF again
		if err := w.net.forceMAC(was.MAC); err == nil {
			if now, err = w.pf.read(); err != nil || w.isOriginal(now) {
				return err
			}
		}
	}
	none := device.NoMAC
	w.adminMACWritten = true
	_ = w.pf.write(ctx, device.Settings{AdminMAC: &none}, []device.Knob{macKnob()}) // the outcome is read back below
	if err := w.net.forceMAC(was.MAC); err != nil {
		return w.writeBoth(ctx, was.MAC, was.AdminMAC)
	}
	if now, err = w.pf.read(); err != nil || w.isOriginal(now) {
		return err
	}
	return w.writeBoth(ctx, was.MAC, was.AdminMAC)
}

// isOriginal reports whether the MAC at the PF is as it was. If none was set there, a
// driver may show the VF's own.
func (w *vfWork) isOriginal(now device.Settings) bool {
	was := w.m.VF.Original
	if now.AdminMAC == nil {
		return true // nothing to compare with
	}
	return *now.AdminMAC == *was.AdminMAC || (*was.AdminMAC == device.NoMAC && *now.AdminMAC == was.MAC)
}
