package profile

import (
	"fmt"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

// governing returns the profile that has a PF: the one of the highest priority
// that selects it. Where several of that priority do, none has it, and the
// conflict says so.
func governing(profiles []config.Profile, pf device.PF) (p *config.Profile, conflict string) {
	for i := range profiles {
		if !profiles[i].NICs.Match(pf) {
			continue
		}
		switch {
		case p == nil:
			p = &profiles[i]
		case profiles[i].Priority == p.Priority:
			return nil, fmt.Sprintf("profiles %q and %q both select it with priority %d: raise the priority of the one that is meant",
				p.Name, profiles[i].Name, p.Priority)
		default: // profiles are in order of priority
			return p, ""
		}
	}
	return p, ""
}

// contenders are the profiles of the highest priority that select a PF.
func contenders(profiles []config.Profile, pf device.PF) []config.Profile {
	var out []config.Profile
	for _, p := range profiles {
		if p.NICs.Match(pf) && (len(out) == 0 || out[0].Priority == p.Priority) {
			out = append(out, p)
		}
	}
	return out
}

// group is a VF group with what Plan asks of it.
type group struct{ config.VFGroup }

// groupOf returns the group that a VF index is in; nil: none, the VF is left alone.
func groupOf(p config.Profile, index int) *group {
	for _, g := range p.Groups {
		if len(g.VFs) == 0 {
			return &group{g}
		}
		for _, r := range g.VFs {
			if r.Contains(index) {
				return &group{g}
			}
		}
	}
	return nil
}

func (g group) setsKnob() bool { return g.VLAN != nil || g.Trust != nil || g.SpoofCheck != nil }

func nameOf(pf device.PF) string {
	if pf.Netdev != "" {
		return pf.Netdev
	}
	return pf.Address.String()
}
