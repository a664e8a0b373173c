package profile

import (
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

// Watches reports whether a change of a VF's knobs at a PF can violate a profile. If not,
// the PF's VFs need not be read after an event.
func Watches(profiles []config.Profile, pf device.PF) bool {
	p, _ := governing(profiles, pf)
	if p == nil || pf.Netdev == "" {
		return false
	}
	for _, vf := range pf.VFs {
		if g := groupOf(*p, vf.Index); g != nil && setsAtPF(g) {
			return true
		}
	}
	return false
}

// Drifted reports whether a knob of a free VF differs from its profile, as after
// `ip link set PF vf 0 trust on`. Settings are those that the PF reports, by VF index
// (link.Handle.VFs). A value that the driver does not report has not drifted. VFs in use
// do not count, because their knobs belong to the pods.
func Drifted(profiles []config.Profile, pf device.PF, settings map[int]device.Settings, known Uses) bool {
	p, _ := governing(profiles, pf)
	if p == nil {
		return false
	}
	for _, vf := range pf.VFs {
		g, have := groupOf(*p, vf.Index), settings[vf.Index]
		if g == nil {
			continue
		}
		for _, k := range device.Differ(device.AtPF, complete(g.Settings, have), have) {
			if k.Has(have) && len(known.ToChange(vf.Address)) == 0 {
				return true
			}
		}
	}
	return false
}
