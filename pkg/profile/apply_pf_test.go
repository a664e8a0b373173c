package profile

import (
	"slices"
	"testing"
)

// S18: the host is kept out of a PF's networks before the PF is up.
func TestAPFIsQuietBeforeItIsUp(t *testing.T) {
	k := labNode(t)
	a := applier(k)
	var quiet []string
	a.Quiet = func(netdev string) error {
		pf, err := k.ByName(netdev)
		if err != nil || pf.Up {
			t.Errorf("%s: up %v, %v", netdev, pf.Up, err)
		}
		quiet = append(quiet, netdev)
		return nil
	}
	for range 2 {
		for _, s := range converge(t, k, a, build(t, `{pf: {numVFs: 1}}`)) {
			if !s.Ready {
				t.Errorf("%+v", s)
			}
		}
	}
	slices.Sort(quiet)
	if !slices.Equal(quiet, []string{"ens1f0", "ens2f0"}) {
		t.Errorf("quiet: %q", quiet)
	}
}
