package profile

import (
	"cmp"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
)

// planNewVFs plans for VFs that do not exist yet. It plans all settings of the profile,
// except the kernel's own driver, which a new VF gets by itself.
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

// settingsOf returns the known settings of a VF.
func (n NIC) settingsOf(vf device.VF) device.Settings {
	s := n.Settings[vf.Index]
	s.Driver = vf.Driver
	if vf.Netdev != "" {
		s.MTU = &vf.MTU
	}
	return s
}

// planUsedVF returns one blocked step with the changes that are made when the VF is free.
// If the release restores the VF, its present settings do not count.
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
		"it is " + usedBy(uses) + ": the change is made when it is free"})
}

// comesBack returns the settings that a used VF will have when it is free. An unknown
// setting is assumed to be as the profile wants it.
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
		s := SetKnob{VFTarget: t, Knob: k, From: have.Only(k), To: want.Only(k), UnsafeDMA: g.AllowUnsafeDMA}
		if reason := unable(s, p, nic); reason != "" {
			steps = append(steps, Blocked{t.Target, t.VF, s.what(), reason})
			continue
		}
		steps = append(steps, s)
	}
	return steps
}

// complete fills in values that the group does not set but that the kernel sets together
// with others: the QoS of a VLAN, and the other rate. They stay as the VF has them. Without
// a VLAN there is no QoS.
func complete(want, have device.Settings) device.Settings {
	if want.VLAN != nil && *want.VLAN != 0 {
		want.QoS = cmp.Or(want.QoS, have.QoS)
	}
	if want.MinTxRate != nil || want.MaxTxRate != nil {
		want.MinTxRate, want.MaxTxRate = cmp.Or(want.MinTxRate, have.MinTxRate), cmp.Or(want.MaxTxRate, have.MaxTxRate)
	}
	return want
}

// unable returns why a knob cannot be set now; empty: it can.
func unable(s SetKnob, p config.Profile, nic NIC) string {
	switch {
	case nic.Netdev == "" && s.Knob.Place == device.AtPF:
		return noNetdev(nic.PF)
	case nic.Netdev == "" || s.Knob.Name != device.KnobMTU || *s.To.MTU <= nic.MTU:
		return ""
	case *s.To.MTU <= p.MTU:
		return fmt.Sprintf("the PF's MTU is %d and has to be changed first", nic.MTU)
	}
	return fmt.Sprintf("the PF's MTU is %d: set spec.pf.mtu to %d or more", nic.MTU, *s.To.MTU)
}
