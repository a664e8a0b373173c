package profile

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Devices B13: a knob that somebody changes by hand is noticed from one reading of
// the PF's VFs.
func TestDrifted(t *testing.T) {
	profiles := build(t, `{nics: {pfNames: [ens1f0]}, pf: {}, vfGroups: [{vfs: 0-1, trust: "off", vlan: 5}, {vfs: "2", driver: vfio-pci}]}`)
	nic := igb(pf0, "ens1f0", 4)
	declared := maps.Clone(nic.Settings)
	for i := range 2 {
		s := defaults()
		s.VLAN, s.QoS = ptr(5), ptr(3) // the priority is not declared
		declared[i] = s
	}
	for name, tt := range map[string]struct {
		change func(*device.PF, map[int]device.Settings)
		held   []int
		want   bool
	}{
		"as declared":                     {func(*device.PF, map[int]device.Settings) {}, nil, false},
		"trust":                           {func(_ *device.PF, s map[int]device.Settings) { s[1] = with(s[1], device.Settings{Trust: ptr(true)}) }, nil, true},
		"trust of a VF that a pod has":    {func(_ *device.PF, s map[int]device.Settings) { s[1] = with(s[1], device.Settings{Trust: ptr(true)}) }, []int{1}, false},
		"VLAN":                            {func(_ *device.PF, s map[int]device.Settings) { s[0] = with(s[0], device.Settings{VLAN: ptr(6)}) }, []int{1}, true},
		"a knob that nobody declares":     {func(_ *device.PF, s map[int]device.Settings) { s[2] = with(s[2], device.Settings{Trust: ptr(true)}) }, nil, false},
		"a VF that no group has":          {func(_ *device.PF, s map[int]device.Settings) { s[3] = with(s[3], device.Settings{Trust: ptr(true)}) }, nil, false},
		"the driver does not report it":   {func(_ *device.PF, s map[int]device.Settings) { s[0] = device.Settings{VLAN: ptr(5)} }, nil, false},
		"the driver reports nothing":      {func(_ *device.PF, s map[int]device.Settings) { clear(s) }, nil, false},
		"of a PF that no profile governs": {func(pf *device.PF, s map[int]device.Settings) { pf.Netdev = "x"; clear(s); s[0] = defaults() }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			pf, settings := nic.PF, maps.Clone(declared)
			tt.change(&pf, settings)
			if got := Drifted(profiles, pf, settings, oracleOf(nic, pod("pod ns/p"), tt.held...)); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// with is a copy of s with the values that change has.
func with(s, change device.Settings) device.Settings {
	for _, k := range device.Knobs {
		if k.Has(change) {
			k.Copy(&s, change)
		}
	}
	return s
}

func TestWatches(t *testing.T) {
	profiles := build(t, `{nics: {pfNames: [ens1f0]}, pf: {}, vfGroups: [{vfs: "0", trust: "off"}]}`, `{nics: {pfNames: [ens2f0]}, pf: {}, vfGroups: [{driver: vfio-pci}]}`)
	for _, tt := range []struct {
		nic  NIC
		want bool
	}{
		{igb(pf0, "ens1f0", 1), true},
		{igb(pf0, "ens1f0", 0), false},
		{igb(pf0, "ens2f0", 1), false}, // a driver shows in the snapshot
		{igb(pf0, "ens3f0", 1), false},
	} {
		if got := Watches(profiles, tt.nic.PF); got != tt.want {
			t.Errorf("%s with %d VFs: %t", tt.nic.Netdev, tt.nic.NumVFs, got)
		}
	}
}

// Devices B1: while profiles are in conflict over a PF, the one that governed it
// keeps its VFs.
func TestGoverned(t *testing.T) {
	old := `{nics: {pfNames: [ens1f0]}, pf: {}}`
	pfs := []device.PF{igb(pf0, "ens1f0", 0).PF, igb(pf1, "ens2f0", 0).PF}
	before := map[pci.Address]string{}
	gone := pci.MustParseAddress("0000:99:00.0")
	for _, tt := range []struct {
		specs []string // of a, b
		want  map[pci.Address]string
	}{
		{[]string{old}, map[pci.Address]string{pf0: "a"}},
		{[]string{old, `{pf: {}}`}, map[pci.Address]string{pf0: "a", pf1: "b"}},                                 // a conflict over the first
		{[]string{`{nics: {pfNames: [ens*]}, pf: {}}`, `{pf: {}}`}, map[pci.Address]string{pf0: "a", pf1: "b"}}, // over both
		{[]string{old, `{priority: 1, pf: {}}`}, map[pci.Address]string{pf0: "b", pf1: "b"}},                    // solved
		{[]string{old, `{pf: {}}`}, map[pci.Address]string{pf0: "b", pf1: "b"}},
		{[]string{`{nics: {pfNames: [ens9]}, pf: {}}`}, map[pci.Address]string{}},
		{[]string{`{pf: {}}`, `{pf: {}}`}, map[pci.Address]string{}}, // nobody was first
	} {
		before[gone] = "a" // a PF that is not here now
		tt.want[gone] = "a"
		before = Governed(build(t, tt.specs...), pfs, before)
		if d := cmp.Diff(tt.want, before); d != "" {
			t.Errorf("%v: -want +got\n%s", tt.specs, d)
		}
	}
}
