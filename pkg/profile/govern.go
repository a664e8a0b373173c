package profile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// governing returns the profile that governs a PF: the one with the highest priority among
// those that select it. If several have that priority, the PF has no profile, and conflict
// says why.
func governing(profiles []config.Profile, pf device.PF) (p *config.Profile, conflict string) {
	of := contenders(profiles, pf)
	switch len(of) {
	case 0:
		return nil, ""
	case 1:
		return of[0], ""
	}
	return nil, fmt.Sprintf("profiles %q and %q both select it with priority %d: raise the priority of one of them; until then the PF stays as it is",
		of[0].Name, of[1].Name, of[0].Priority)
}

// contenders returns the profiles of the highest priority that select a PF.
func contenders(profiles []config.Profile, pf device.PF) []*config.Profile {
	var out []*config.Profile
	for i := range profiles {
		p := &profiles[i]
		if len(out) > 0 && p.Priority != out[0].Priority {
			break // profiles are in order of priority
		}
		if p.NICs.Match(pf) {
			out = append(out, p)
		}
	}
	return out
}

// Selecting returns the PFs that profiles select, each with the profile that comes first. It may
// be in conflict with another one.
func Selecting(profiles []config.Profile, pfs []device.PF) map[pci.Address]string {
	out := map[pci.Address]string{}
	for _, pf := range pfs {
		if of := contenders(profiles, pf); len(of) > 0 {
			out[pf.Address] = of[0].Name
		}
	}
	return out
}

// Governed returns the PFs that profiles govern, with the profile's name. If profiles are
// in conflict over a PF, the one that governed it before still does, so its VFs stay in
// their pools. PFs that are not among pfs are kept, because they may come back. The result
// is for config.BuildKeeping.
func Governed(profiles []config.Profile, pfs []device.PF, before map[pci.Address]string) map[pci.Address]string {
	out := map[pci.Address]string{}
	maps.Copy(out, before)
	for _, pf := range pfs {
		of := contenders(profiles, pf)
		was := func(p *config.Profile) bool { return p.Name == before[pf.Address] }
		switch {
		case len(of) == 1:
			out[pf.Address] = of[0].Name
		case !slices.ContainsFunc(of, was):
			delete(out, pf.Address)
		}
	}
	return out
}

// namesPF reports whether a profile names a PF. A match by a glob or by its kind is not
// enough.
func namesPF(p config.Profile, pf device.PF) bool {
	named := func(patterns []string, pf device.PF, selector func([]string) device.NICSelector) bool {
		exact := slices.DeleteFunc(slices.Clone(patterns), func(s string) bool { return strings.ContainsAny(s, `*?[\`) })
		return len(exact) > 0 && selector(exact).Match(pf)
	}
	return named(p.NICs.PFNames, pf, func(s []string) device.NICSelector { return device.NICSelector{PFNames: s} }) ||
		named(p.NICs.PCIAddresses, pf, func(s []string) device.NICSelector { return device.NICSelector{PCIAddresses: s} })
}

// Group returns the VF group that a VF of a PF is in; nil if no profile, or more than
// one, governs the PF, or if no group has the VF.
func Group(profiles []config.Profile, pf device.PF, index int) *config.VFGroup {
	p, _ := governing(profiles, pf)
	if p == nil {
		return nil
	}
	return groupOf(*p, index)
}

// groupOf returns the group that a VF index is in; nil: none, the VF is left alone.
func groupOf(p config.Profile, index int) *config.VFGroup {
	for i, g := range p.Groups {
		in := func(r device.IndexRange) bool { return r.Contains(index) }
		if len(g.VFs) == 0 || slices.ContainsFunc(g.VFs, in) {
			return &p.Groups[i]
		}
	}
	return nil
}

// setsAtPF reports whether the group sets a knob that the PF has.
func setsAtPF(g *config.VFGroup) bool {
	return slices.ContainsFunc(device.Knobs, func(k device.Knob) bool { return k.Place == device.AtPF && k.Has(g.Settings) })
}

func nameOf(pf device.PF) string {
	if pf.Netdev != "" {
		return pf.Netdev
	}
	return pf.Address.String()
}
