package attach

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/pkg/link"
)

// A VF has two MACs: its netdev's, and the administrative one at the PF, by which
// the NIC filters. Which may be written when differs from driver to driver:
//   - igb: once the PF has set one, the VF may not set its own (EADDRNOTAVAIL, and
//     no packet passes), until the PF sets it to zero; the VF's own then shows at
//     the PF as well. A write may report success and change nothing at the PF.
//   - iavf: a write at the PF resets the VF, which then follows within a second.
//
// So: the netdev's first, the PF's then; where the netdev refuses, after the PF
// has given its own up; and both read back, more than once.
const (
	macTries = 10
	macPause = 100 * time.Millisecond
)

func (v *vfJob) setMAC(ctx context.Context) error {
	if v.asked.MAC == "" {
		return nil
	}
	return v.retryMAC(ctx, func() error { return v.writeMAC(v.asked.MAC, v.asked.AdminMAC) })
}

// restoreMAC always compares: the pod may have changed the netdev's MAC though
// the network asked for none (dp#685: duplicates). Without a netdev there is still
// the PF's, which the NIC filters by.
func (v *vfJob) restoreMAC(ctx context.Context) error {
	if v.was.MAC == "" {
		return nil
	}
	if !v.hasNetdev() {
		return v.writeBackAdminMAC(ctx)
	}
	return ignoreNoNetdev(v.retryMAC(ctx, v.writeBackMAC))
}

func (v *vfJob) retryMAC(ctx context.Context, write func() error) error {
	for try := 1; ; try++ {
		err := write()
		if err == nil || errors.Is(err, errNoNetdev) || try == macTries {
			return err
		}
		if v.pause(ctx, macPause) != nil {
			return err // out of time; the driver's error says more than that
		}
	}
}

func (v *vfJob) writeMAC(mac string, admin *string) error {
	if admin == nil {
		return v.writeNetdevMAC(mac)
	}
	if err := v.writeNetdevMAC(mac); err != nil {
		if v.writeAdminMAC(zeroMAC) != nil || v.writeNetdevMAC(mac) != nil {
			// A driver whose netdev takes nothing but what the PF says.
			if adminErr := v.writeAdminMAC(*admin); adminErr != nil {
				return errors.Join(err, adminErr)
			}
			return v.writeNetdevMAC(mac)
		}
	}
	if err := v.writeAdminMAC(*admin); err != nil {
		return err
	}
	return v.writeNetdevMAC(mac) // a comparison, where the netdev has kept it
}

// writeBackMAC gives the MAC back to the VF as it was. The PF's own is zeroed
// first: where it was never set, that alone leaves the VF free again.
func (v *vfJob) writeBackMAC() error {
	if v.was.AdminMAC == nil {
		return v.writeNetdevMAC(v.was.MAC)
	}
	l, err := v.hostNetdev()
	if err != nil {
		return err
	}
	_, now, err := v.readKnobs()
	if err != nil {
		return errors.Join(err, v.writeNetdevMAC(v.was.MAC))
	}
	if l.MAC == v.was.MAC && v.isOriginal(*now.AdminMAC) {
		return nil
	}
	_ = v.writeAdminMAC(zeroMAC) // what it achieves is read back below
	if err := v.setNetdevMAC(l, v.was.MAC); err != nil {
		return v.writeMAC(v.was.MAC, v.was.AdminMAC)
	}
	if _, now, err = v.readKnobs(); err != nil || v.isOriginal(*now.AdminMAC) {
		return err
	}
	return v.writeMAC(v.was.MAC, v.was.AdminMAC)
}

// isOriginal: where none was set at the PF, a driver may show the VF's own.
func (v *vfJob) isOriginal(admin string) bool {
	return admin == *v.was.AdminMAC || (*v.was.AdminMAC == zeroMAC && admin == v.was.MAC)
}

func (v *vfJob) writeNetdevMAC(mac string) error {
	l, err := v.hostNetdev()
	if err != nil || l.MAC == mac {
		return err
	}
	return v.setNetdevMAC(l, mac)
}

// setNetdevMAC sets the netdev's own MAC, even if it has it: igb learns it from
// that. And reads it back.
func (v *vfJob) setNetdevMAC(l link.Link, mac string) error {
	if err := v.host.SetMAC(l.Index, mac); err != nil {
		return v.refused(err)
	}
	l, err := v.host.ByIndex(l.Index)
	if err != nil {
		return err
	}
	if l.MAC != mac {
		return fmt.Errorf("driver %s took MAC %s for VF %s, but it is %s", v.now.Driver, mac, v.now.Address, l.MAC)
	}
	return nil
}

// writeAdminMAC sets the MAC at the PF and reads it back. It is written even if
// it reads the same: igb shows the VF's own there, which is not set for it.
func (v *vfJob) writeAdminMAC(mac string) error {
	pf, err := v.uplink()
	if err != nil {
		return err
	}
	if err := v.host.SetVFMAC(pf.Index, v.now.Index, mac); err != nil {
		return v.refusedByPF(pf, err)
	}
	_, now, err := v.readKnobs()
	if err != nil {
		return err
	}
	if *now.AdminMAC != mac {
		return fmt.Errorf("driver %s of PF %s took MAC %s for VF %d, but reads back %s", v.pfDriver(), pf.Name, mac, v.now.Index, *now.AdminMAC)
	}
	return nil
}

// setAdminMAC and restoreAdminMAC serve VFs without a netdev.
func (v *vfJob) setAdminMAC(ctx context.Context) error {
	if v.asked.AdminMAC == nil {
		return nil
	}
	return v.retryMAC(ctx, func() error { return v.writeAdminMAC(*v.asked.AdminMAC) })
}

func (v *vfJob) restoreAdminMAC(ctx context.Context) error {
	if v.asked.AdminMAC == nil {
		return nil
	}
	return v.writeBackAdminMAC(ctx)
}

func (v *vfJob) writeBackAdminMAC(ctx context.Context) error {
	if v.was.AdminMAC == nil {
		return nil
	}
	_, now, err := v.readKnobs()
	if err != nil || *now.AdminMAC == *v.was.AdminMAC {
		return err
	}
	return v.retryMAC(ctx, func() error { return v.writeAdminMAC(*v.was.AdminMAC) })
}

// errNoNetdev: the VF shows no interface on the host.
var errNoNetdev = errors.New("no interface on the host")

func (v *vfJob) hostNetdev() (link.Link, error) {
	names, err := v.Sysfs.Netdevs(v.now.Address)
	if err != nil {
		return link.Link{}, err
	}
	for _, name := range names {
		l, err := v.host.ByName(name)
		if !errors.Is(err, link.ErrNotFound) { // else: renamed since, or going
			return l, err
		}
	}
	return link.Link{}, fmt.Errorf("VF %s: %w", v.now.Address, errNoNetdev)
}

// ignoreNoNetdev is for undoing: a netdev that is missing is reported once, by the
// step that brings it back; one that has no driver any more has no state either.
func ignoreNoNetdev(err error) error {
	if errors.Is(err, errNoNetdev) {
		return nil
	}
	return err
}
