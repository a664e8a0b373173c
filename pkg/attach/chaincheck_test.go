package attach

import (
	"encoding/json"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/link"
)

// meta-cni C1, reports 12: CHECK compares with the chain's last result.
func TestCheckOfHealthyPods(t *testing.T) {
	routed := `{"type": "macvlan", "master": "eth1", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}}`
	tests := []struct {
		name, version string
		confs         []string
		change        func(*chained)                     // after ADD
		result        func(c *chained, r map[string]any) // of programs
		want          string                             // of the error; empty: healthy
	}{
		{name: "tuning sets MAC and MTU", version: "1.0.0", confs: []string{onEth1, `{"type": "tuning", "mac": "02:00:00:00:00:77", "mtu": 1300}`}},
		{name: "a program changes the MAC, and says so", version: "1.0.0", confs: []string{onEth1, sbr}, result: func(c *chained, r map[string]any) {
			c.k.spaces[podNS].links["net1"].MAC = "02:00:00:00:00:77"
			r["interfaces"].([]any)[0].(map[string]any)["mac"] = "02:00:00:00:00:77"
		}},
		{name: "a program changes the MTU, and does not say so", version: "1.1.0", confs: []string{onEth1, sbr}, result: func(c *chained, _ map[string]any) {
			c.k.spaces[podNS].links["net1"].MTU = 1300
		}},
		{name: "another network has the default route", version: "1.0.0", confs: []string{routed}, change: func(c *chained) {
			pod := c.k.spaces[podNS]
			pod.links["eth0"] = &fakeLink{Link: link.Link{Index: 99, Name: "eth0"}, routes: []link.Route{{Link: 99, Dst: everything}}}
			pod.links["net1"].routes = nil
		}},
		{name: "nobody has the default route", version: "1.0.0", confs: []string{routed}, change: func(c *chained) { c.k.spaces[podNS].links["net1"].routes = nil },
			want: "the route to 0.0.0.0/0 over net1 is missing"},
		{name: "an IPAM program of an old list", version: "0.4.0", confs: []string{`{"type": "macvlan", "master": "eth1", "ipam": {"type": "whereabouts"}}`}},
		{name: "a macvlan of a network with a resource", version: "1.0.0", confs: []string{onEth1}, change: func(c *chained) {
			if !c.att.Members[0].Device.IsZero() {
				c.t.Error("a macvlan holds the pod's device")
			}
		}},
		{name: "the MAC was changed afterwards", version: "1.0.0", confs: []string{onEth1, sbr}, change: func(c *chained) { c.k.spaces[podNS].links["net1"].MAC = "02:00:00:00:00:78" },
			want: "plugin 1 of the list, macvlan: interface net1 has MAC 02:00:00:00:00:78, and had a6:00:00:00:00:01"},
		{name: "tuning was undone", version: "1.0.0", confs: []string{onEth1, `{"type": "tuning", "promisc": true}`}, change: func(c *chained) { c.k.spaces[podNS].links["net1"].Promisc = false },
			want: "the promiscuous mode of interface net1 is not as tuning has set it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newChained(t, tt.version, tt.confs...)
			if tt.result != nil {
				c.exec.change = func(r map[string]any) { tt.result(c, r) }
			}
			c.add()
			if tt.change != nil {
				tt.change(c)
			}
			err := c.set.Check(t.Context(), c.call, c.att)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if in, ran := c.exec.stdin["CHECK whereabouts"]; ran && versionOfPrevResult(t, in) != tt.version {
				t.Errorf("whereabouts got %s", in)
			}
		})
	}
}

func versionOfPrevResult(t *testing.T, stdin string) string {
	t.Helper()
	var conf struct{ PrevResult struct{ CNIVersion string } }
	if err := json.Unmarshal([]byte(stdin), &conf); err != nil {
		t.Fatal(err)
	}
	return conf.PrevResult.CNIVersion
}

func TestCheckThatIsDeclined(t *testing.T) {
	c := newChained(t, "1.0.0", onEth1, sbr)
	c.add()
	delete(c.k.spaces[podNS].links, "net1")
	c.att.DisableCheck = true
	if err := c.set.Check(t.Context(), c.call, c.att); err != nil {
		t.Errorf("disableCheck: %v", err)
	}
	old := newChained(t, "0.3.1", onEth1, sbr)
	old.add()
	if err := old.set.Check(t.Context(), old.call, old.att); err != nil || strings.Contains(strings.Join(old.exec.log, " "), "CHECK") {
		t.Errorf("a list of 0.3.1: %v, and ran %v", err, old.exec.log)
	}
	if old.del(); strings.Contains(old.exec.stdin["DEL sbr"], "prevResult") {
		t.Errorf("DEL of 0.3.1 has a prevResult: %s", old.exec.stdin["DEL sbr"])
	}
}
