package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/pci"
)

// VFs that go, or are rebound, are not handed out meanwhile. Who looks whether one
// is free has to look when nobody can get it any more.
func TestVFsAreWithheldWhileTheyAreChanged(t *testing.T) {
	k := labNode(t)
	a := applier(k)
	converge(t, k, a, build(t, labProfile))
	var log []string
	a.Holders = func(vf pci.Address) (Holder, bool) {
		log = append(log, "look")
		return Holder{}, false
	}
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
	on := Target{PF: pf0}
	for _, tt := range []struct {
		step Step
		want string
	}{
		{BindDriver{VFTarget: VFTarget{Target: on, VF: 2}, To: ""}, "withhold look end"},
		{SetNumVFs{Target: on, From: 3}, "withhold look look look end"},
	} {
		log = nil
		if err := tt.step.apply(t.Context(), a); err != nil {
			t.Fatalf("%s: %v", tt.step, err)
		}
		if diff := cmp.Diff(tt.want, strings.Join(log, " ")); diff != "" {
			t.Errorf("%s: %s", tt.step, diff)
		}
	}
}
