//go:build root

package link_test

import (
	"testing"

	"fairlead.dev/fairlead/pkg/link"
)

func TestShaping(t *testing.T) {
	host, pod := handle(t), handle(t)
	near, _, err := host.Bridges.AddVeth(link.Pair{Name: "v", Far: link.Spec{Name: "net1"}}, pod)
	if err != nil {
		t.Fatal(err)
	}
	ifb, err := host.Bridges.AddIFB(link.Spec{Name: "detour", MTU: 1400, Group: 7}, host)
	if err != nil || ifb.Kind != "ifb" || ifb.MTU != 1400 || ifb.Group != 7 {
		t.Fatalf("%+v, %v", ifb, err)
	}
	slow, fast := link.Limit{Rate: 1000, Burst: 2000}, link.Limit{Rate: 1000000, Burst: 2000}
	for range 2 { // all of it can be removed and set again
		if err := host.Shaping.SetLimit(near.Index, fast); err != nil {
			t.Fatal(err)
		}
		if err := host.Shaping.SetLimit(near.Index, slow); err == nil {
			t.Error("a second limit is taken")
		}
		if err := host.Shaping.Redirect(near.Index, ifb.Index); err != nil {
			t.Fatal(err)
		}
		for limit, want := range map[link.Limit]bool{fast: true, slow: false} {
			if has, err := host.Shaping.HasLimit(near.Index, limit); has != want || err != nil {
				t.Errorf("%+v: %t, %v", limit, has, err)
			}
		}
		for range 2 {
			if err := host.Shaping.ClearShaping(near.Index); err != nil {
				t.Fatal(err)
			}
		}
		if has, err := host.Shaping.HasLimit(near.Index, fast); has || err != nil {
			t.Errorf("cleared: %t, %v", has, err)
		}
	}
}
