package attach

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// knob is something that a PF does for its VFs. Knobs are compared before they
// are written: one that is right already costs no message, and a driver without
// it is not asked for what it has by default (link state auto).
type knob struct {
	name, field string
	asked       func(ledger.VFState) bool
	equal       func(a, b ledger.VFState) bool
	write       func(l Links, pf, vf int, s ledger.VFState) error
	text        func(ledger.VFState) string
}

// knobs are in the order in which they are set; the MAC, which takes more than
// one write, is set where its own entry is.
var knobs = []knob{
	{
		name: "VLAN", field: "vlan",
		asked: func(s ledger.VFState) bool { return s.VLAN != nil },
		equal: func(a, b ledger.VFState) bool {
			return same(a.VLAN, b.VLAN) && same(a.QoS, b.QoS) && (*a.VLAN == 0 || same(a.VLANProto, b.VLANProto))
		},
		write: func(l Links, pf, vf int, s ledger.VFState) error {
			return l.SetVFVLAN(pf, vf, *s.VLAN, *s.QoS, *s.VLANProto)
		},
		text: func(s ledger.VFState) string { return fmt.Sprintf("%d QoS %d %s", *s.VLAN, *s.QoS, *s.VLANProto) },
	},
	{
		name: macKnob, field: "mac",
		asked: func(s ledger.VFState) bool { return s.AdminMAC != nil },
		equal: func(a, b ledger.VFState) bool { return same(a.AdminMAC, b.AdminMAC) },
		text:  func(s ledger.VFState) string { return *s.AdminMAC },
	},
	{
		name: "rate", field: "min_tx_rate and max_tx_rate",
		asked: func(s ledger.VFState) bool { return s.MinTxRate != nil || s.MaxTxRate != nil },
		equal: func(a, b ledger.VFState) bool {
			return same(a.MinTxRate, b.MinTxRate) && same(a.MaxTxRate, b.MaxTxRate)
		},
		write: func(l Links, pf, vf int, s ledger.VFState) error {
			return l.SetVFRate(pf, vf, *s.MinTxRate, *s.MaxTxRate)
		},
		text: func(s ledger.VFState) string { return fmt.Sprintf("%d to %d Mbit/s", *s.MinTxRate, *s.MaxTxRate) },
	},
	{
		name: "spoof check", field: "spoofchk",
		asked: func(s ledger.VFState) bool { return s.SpoofCheck != nil },
		equal: func(a, b ledger.VFState) bool { return same(a.SpoofCheck, b.SpoofCheck) },
		write: func(l Links, pf, vf int, s ledger.VFState) error { return l.SetVFSpoofCheck(pf, vf, *s.SpoofCheck) },
		text:  func(s ledger.VFState) string { return onOff(*s.SpoofCheck) },
	},
	{
		name: "trust", field: "trust",
		asked: func(s ledger.VFState) bool { return s.Trust != nil },
		equal: func(a, b ledger.VFState) bool { return same(a.Trust, b.Trust) },
		write: func(l Links, pf, vf int, s ledger.VFState) error { return l.SetVFTrust(pf, vf, *s.Trust) },
		text:  func(s ledger.VFState) string { return onOff(*s.Trust) },
	},
	{
		name: "link state", field: "link_state",
		asked: func(s ledger.VFState) bool { return s.LinkState != nil },
		equal: func(a, b ledger.VFState) bool { return same(a.LinkState, b.LinkState) },
		write: func(l Links, pf, vf int, s ledger.VFState) error { return l.SetVFLinkState(pf, vf, *s.LinkState) },
		text:  func(s ledger.VFState) string { return *s.LinkState },
	},
}

const macKnob = "MAC"

// Knobs is what a PF tells of a VF, in a record's terms.
func Knobs(info link.VFInfo) ledger.VFState {
	var s ledger.VFState
	setKnobs(&s, info)
	s.Index = info.Index
	return s
}

// setKnobs copies what the PF tells into a state; nil where it tells nothing.
func setKnobs(s *ledger.VFState, info link.VFInfo) {
	s.AdminMAC, s.VLAN, s.QoS, s.VLANProto = &info.MAC, &info.VLAN, &info.QoS, &info.VLANProto
	s.MinTxRate, s.MaxTxRate = &info.MinTxRateMbps, &info.MaxTxRateMbps
	s.SpoofCheck, s.Trust, s.LinkState = info.SpoofCheck, info.Trust, &info.LinkState
}

// knobSteps makes a step of each knob, with mac in its place. Only what is asked
// for is written, and only that is restored.
func (v *vfJob) knobSteps(mac step) steps {
	var list steps
	for _, k := range knobs {
		if k.name == macKnob {
			list = append(list, mac)
			continue
		}
		list = append(list, step{
			name: "set the VF's " + k.name,
			do:   func(context.Context) error { return v.turn(k, v.asked) },
			undo: func(context.Context) error { return v.turnBack(k) },
		})
	}
	return list
}

// turn brings a knob to a state and reads it back: some drivers report success
// and change nothing.
func (v *vfJob) turn(k knob, want ledger.VFState) error {
	if !k.asked(v.asked) {
		return nil
	}
	pf, now, err := v.readKnobs()
	if err != nil || k.equal(want, now) {
		return err
	}
	if err := k.write(v.host, pf.Index, v.now.Index, want); err != nil {
		return v.refusedByPF(pf, err)
	}
	if _, now, err = v.readKnobs(); err != nil {
		return err
	}
	if k.asked(now) && !k.equal(want, now) {
		return fmt.Errorf("driver %s of PF %s took %s %s for VF %d, but reads back %s",
			v.pfDriver(), pf.Name, k.name, k.text(want), v.now.Index, k.text(now))
	}
	return nil
}

// turnBack does nothing for a knob that the driver did not tell the state of: it
// was not turned either, unless it could be written without being read.
func (v *vfJob) turnBack(k knob) error {
	if !k.asked(v.was) {
		return nil
	}
	return v.turn(k, v.was)
}

// readKnobs finds the PF by its address, whatever it is called by now, and reads
// the VF's state there.
func (v *vfJob) readKnobs() (pf link.Link, now ledger.VFState, err error) {
	if pf, err = v.uplink(); err != nil {
		return pf, now, err
	}
	info, err := v.host.VF(pf.Index, v.now.Index)
	if err != nil {
		return pf, now, err
	}
	setKnobs(&now, info)
	return pf, now, nil
}

func (v *vfJob) uplink() (link.Link, error) {
	pf, err := v.Sysfs.PF(v.now.PF)
	if err != nil {
		return link.Link{}, err
	}
	if pf.Netdev == "" {
		return link.Link{}, fmt.Errorf("PF %s of VF %s has no interface on the host now (driver %q), so the VF cannot be configured", pf.Address, v.now.Address, pf.Driver)
	}
	return v.host.ByName(pf.Netdev)
}

func (v *vfJob) pfDriver() string {
	if pf, err := v.Sysfs.PF(v.now.PF); err == nil && pf.Driver != "" {
		return pf.Driver
	}
	return "(unknown)"
}

// refusedByPF explains what the kernel's errno leaves open.
func (v *vfJob) refusedByPF(pf link.Link, err error) error {
	hint := ""
	switch {
	case errors.Is(err, link.ErrUnsupported):
		hint = "; this driver does not have it: leave the field out of the network"
	case !pf.Up:
		hint = fmt.Sprintf("; PF %s is down: bring it up first", pf.Name)
	case errors.Is(err, unix.EINVAL):
		hint = "; the driver takes no such value (a rate above the link's speed, a minimum where there is none)"
	}
	return fmt.Errorf("driver %s of PF %s refused it for VF %d: %w%s%s", v.pfDriver(), pf.Name, v.now.Index, err, errnoName(err), hint)
}

// refused is the same for what the VF's own driver does.
func (v *vfJob) refused(err error) error {
	return fmt.Errorf("driver %s of VF %s refused it: %w%s", v.now.Driver, v.now.Address, err, errnoName(err))
}

func errnoName(err error) string {
	var errno unix.Errno
	switch name := ""; {
	case !errors.As(err, &errno):
		return ""
	case errno == unix.EOPNOTSUPP:
		return " (EOPNOTSUPP)" // which the table has under its other name, ENOTSUP
	default:
		if name = unix.ErrnoName(errno); name == "" {
			name = fmt.Sprintf("errno %d", int(errno))
		}
		return " (" + name + ")"
	}
}

func same[T comparable](a, b *T) bool { return a != nil && b != nil && *a == *b }

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
