package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// VFs that go, or are rebound, are not handed out meanwhile. Who looks whether one
// is free has to look when nobody can get it any more.
func TestVFsAreWithheldWhileTheyAreChanged(t *testing.T) {
	k := labNode(t)
	a := applier(k)
	converge(t, k, a, build(t, labProfile))
	var log []string
	a.Custody = ask(func(fn pci.Address) []custody.Use {
		if fn != pf0 {
			log = append(log, "look")
		}
		return nil
	})
	a.Withhold = func(vfs []pci.Address, check func(pci.Address) error) (func(), error) {
		log = append(log, "withhold")
		for _, vf := range vfs {
			if err := check(vf); err != nil {
				return nil, err
			}
		}
		before := k.state()
		return func() {
			if k.state() == before {
				t.Error("the VFs were given free before they were changed")
			}
			log = append(log, "end")
		}, nil
	}
	on := Target{PF: pf0, Ifindex: k.index("ens1f0")}
	for _, tt := range []struct {
		step Step
		want string
	}{
		{knobStep(VFTarget{Target: on, VF: 2}, device.Settings{Driver: device.KernelDriver}), "withhold look end"},
		// Devices B12.
		{knobStep(VFTarget{Target: on, VF: 1}, device.Settings{VLAN: ptr(7)}), "withhold look end"},
		{knobStep(VFTarget{Target: on, VF: 1}, device.Settings{MTU: ptr(1400)}), "withhold look end"},
		{SetPFMTU{Target: on, To: 8000, VFs: k.gather(nil)[0].VFs}, "withhold look look look end"},
		{SetNumVFs{Target: on, From: 3}, "withhold look look look end"},
	} {
		log = nil
		if f := a.Apply(t.Context(), []Step{tt.step}); len(f) > 0 {
			t.Fatal(f)
		}
		if diff := cmp.Diff(tt.want, strings.Join(log, " ")); diff != "" {
			t.Errorf("%s: %s", tt.step, diff)
		}
	}
}
