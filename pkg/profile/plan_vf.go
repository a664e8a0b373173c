package profile

import (
	"cmp"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
)

// planNewVFs plans for VFs that are not there yet: everything that the profile asks
// for, except the kernel's own driver, which a new VF gets by itself.
func planNewVFs(at Target, p config.Profile, nic NIC, count int) []Step {
	var steps []Step
	for i := range count {
		if g := groupOf(p, i); g != nil {
			have := device.Settings{Driver: device.KernelDriver}
			steps = append(steps, planVF(VFTarget{Target: at, VF: i, New: true}, p, g, nic, have)...)
		}
	}
	return steps
}

func planExistingVF(at Target, p config.Profile, g *config.VFGroup, nic NIC, vf device.VF) []Step {
	t := VFTarget{Target: at, VF: vf.Index, Address: vf.Address}
	if uses := nic.Uses[vf.Address]; len(uses) > 0 {
		return planUsedVF(t, p, g, nic, vf, uses)
	}
	return planVF(t, p, g, nic, nic.settingsOf(vf))
}

// settingsOf returns what a VF is known to have.
func (n NIC) settingsOf(vf device.VF) device.Settings {
	s := n.Settings[vf.Index]
	s.Driver = vf.Driver
	if vf.Netdev != "" {
		s.MTU = &vf.MTU
	}
	return s
}

// planUsedVF says in one step what follows when a VF is free. The present settings
// do not count if its holder gives it back as it was.
func planUsedVF(t VFTarget, p config.Profile, g *config.VFGroup, nic NIC, vf device.VF, uses []custody.Use) []Step {
	var steps []Step
	var changes []string
	for _, s := range planVF(t, p, g, nic, comesBack(g.Settings, nic.settingsOf(vf), returnsAs(uses))) {
		if s, free := s.(SetKnob); free {
			changes = append(changes, s.change())
			continue
		}
		steps = append(steps, s)
	}
	if len(changes) == 0 {
		return steps
	}
	return append(steps, Blocked{t.Target, t.VF, t.vf() + ": " + strings.Join(changes, ", "),
		"it is " + usedBy(uses) + ": it follows when it is free"})
}

// comesBack returns the settings of a used VF when it is free. A setting that is not
// known counts as wanted: there is nothing to report before it is seen.
func comesBack(want, now device.Settings, returns *device.Settings) device.Settings {
	out := now
	for _, k := range device.Knobs {
		switch {
		case returns != nil && k.Has(*returns):
			k.Copy(&out, *returns)
		case k.Place == device.AtPF && returns != nil, k.Place != device.AtDevice && !k.Has(now):
			k.Copy(&out, want)
		}
	}
	return out
}

// planVF compares one VF with its group. A knob whose value is not known is planned.
func planVF(t VFTarget, p config.Profile, g *config.VFGroup, nic NIC, have device.Settings) []Step {
	var steps []Step
	want := complete(g.Settings, have)
	for _, k := range device.Knobs {
		if !k.Has(want) || k.Same(want, have) {
			continue
		}
		s := SetKnob{VFTarget: t, Knob: k, From: have.Only(k), To: want.Only(k)}
		if reason := unable(s, p, nic); reason != "" {
			steps = append(steps, Blocked{t.Target, t.VF, s.what(), reason})
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

// complete adds to a knob of several values those that the group leaves open, as the
// VF has them: the kernel sets all of them together. Without a VLAN there is no
// priority.
func complete(want, have device.Settings) device.Settings {
	if want.VLAN != nil && *want.VLAN != 0 {
		want.QoS = cmp.Or(want.QoS, have.QoS)
	}
	if want.MinTxRate != nil || want.MaxTxRate != nil {
		want.MinTxRate, want.MaxTxRate = cmp.Or(want.MinTxRate, have.MinTxRate), cmp.Or(want.MaxTxRate, have.MaxTxRate)
	}
	return want
}

// unable returns why a knob cannot be set now; empty: it can be.
func unable(s SetKnob, p config.Profile, nic NIC) string {
	switch {
	case nic.Netdev == "" && s.Knob.Place == device.AtPF:
		return noNetdev(nic.PF)
	case nic.Netdev == "" || s.Knob.Name != device.KnobMTU || *s.To.MTU <= nic.MTU:
		return ""
	case *s.To.MTU <= p.MTU:
		return fmt.Sprintf("the PF's MTU is %d: it follows that", nic.MTU)
	}
	return fmt.Sprintf("the PF's MTU is %d: set spec.pf.mtu to %d or more", nic.MTU, *s.To.MTU)
}
