package repair

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/retry"
)

const (
	netdevTries = 50
	netdevPause = 100 * time.Millisecond
)

// errInUse means that somebody has got the VF since it was found.
var errInUse = errors.New("somebody has just got it")

// apply makes one repair and reads it back. Nobody gets the VF meanwhile.
func (r *Repairer) apply(ctx context.Context, o Orphan) error {
	end, err := r.o.Withhold(ctx, o.VF.Address)
	if err != nil {
		return err
	}
	defer end()
	confirmed, err := r.o.Custody.Confirm(ctx, o.VF.Address)
	if err != nil {
		return err
	}
	if len(confirmed.ToChange(o.VF.Address)) > 0 {
		return errInUse
	}
	if o.Bind {
		return r.o.FS.BindDriver(o.VF.Address, "")
	}
	// The settings at the PF come first: drivers read them when they are bound.
	knobsErr := r.setKnobs(o)
	if o.VF.Userspace() {
		return knobsErr
	}
	return errors.Join(knobsErr, r.newNetdev(ctx, o))
}

// setKnobs sets the values at the PF that differ, one by one: one that the driver refuses
// does not keep the others from being set.
func (r *Repairer) setKnobs(o Orphan) error {
	if o.PF.Netdev == "" {
		return nil
	}
	have, err := r.atPF(o)
	if err != nil {
		return err
	}
	for _, k := range differing(o.Want, have) {
		if err := r.o.Links.SetVF(o.PF.Ifindex, o.VF.Index, o.Want.Only(k)); err != nil {
			r.o.Log.Warn("repairing a VF: a setting is refused", "vf", o.VF.Address, "setting", k.Name, "error", err)
		}
	}
	if have, err = r.atPF(o); err != nil {
		return err
	}
	var left []string
	for _, k := range differing(o.Want, have) {
		left = append(left, fmt.Sprintf("%s is still %s instead of %s", k.Name, k.Text(have), k.Text(o.Want)))
	}
	if len(left) > 0 {
		return fmt.Errorf("at PF %s, %s", o.PF.Netdev, strings.Join(left, ", "))
	}
	return nil
}

// atPF returns the VF's settings. They are empty if the driver reports nothing.
func (r *Repairer) atPF(o Orphan) (device.Settings, error) {
	all, err := r.o.Links.VFs(o.PF.Ifindex)
	if errors.Is(err, link.ErrUnsupported) {
		return device.Settings{}, nil
	}
	return all[o.VF.Index], err
}

// differing leaves out the settings that the driver does not report, since no pod can have
// set them.
func differing(want, have device.Settings) []device.Knob {
	var out []device.Knob
	for _, k := range device.Differ(device.AtPF, want, have) {
		if k.Has(have) {
			out = append(out, k)
		}
	}
	return out
}

// newNetdev rebinds the driver, and gives the new netdev the old one's name and MTU.
func (r *Repairer) newNetdev(ctx context.Context, o Orphan) error {
	if o.Rebind {
		if err := r.o.FS.Rebind(o.VF.Address); err != nil {
			return err
		}
		s := r.watch.strays[o.VF.Address]
		s.Rebound = true // a second try need not do it again
		r.watch.strays[o.VF.Address] = s
	}
	l, err := r.awaitNetdev(ctx, o.VF.Address)
	if err != nil {
		return err
	}
	if o.Netdev != "" && l.Name != o.Netdev {
		if err := r.o.Links.Rename(l.Index, o.Netdev); err != nil {
			// It is of use under any name.
			r.o.Log.Warn("repairing a VF: its netdev keeps the name that the kernel gave it", "vf", o.VF.Address, "netdev", l.Name, "error", err)
		}
	}
	if o.Want.MTU == nil || *o.Want.MTU == l.MTU {
		return nil
	}
	return r.o.Links.SetMTU(l.Index, *o.Want.MTU)
}

func (r *Repairer) awaitNetdev(ctx context.Context, vf pci.Address) (link.Link, error) {
	for try := 1; ; try++ {
		names, err := r.o.FS.Netdevs(vf)
		if err == nil && len(names) > 0 {
			l, err := r.o.Links.ByName(names[0])
			if !errors.Is(err, link.ErrNotFound) { // udev may just be renaming it
				return l, err
			}
		}
		if try == netdevTries {
			return link.Link{}, errors.New("no netdev has appeared after the driver was bound again")
		}
		if err := retry.Sleep(ctx, netdevPause); err != nil {
			return link.Link{}, err
		}
	}
}
