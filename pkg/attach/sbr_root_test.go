//go:build root

package attach

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// meta-cni, "built-ins absent": sbr.
func TestSBRIsAsTheStockPlugin(t *testing.T) {
	dir := stockPlugins(t, "meta/sbr", "ipam/static")
	conf := func(ipam, fields string) []string {
		return []string{`{"type": "macvlan", "master": "up0", "mac": "02:00:00:cc:00:01", "ipam": {"type": "static", ` + ipam + `}}`,
			`{"type": "sbr", "builtin": BUILTIN` + fields + `}`}
	}
	const v4 = `"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]`
	const both = `"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00::5/64", "gateway": "fd00::1"}]`
	for _, tt := range []comparison{
		{name: "IPv4", confs: conf(v4, ``)},
		{name: "no gateway", confs: conf(`"addresses": [{"address": "10.1.0.5/24"}]`, ``)},
		{name: "routes", confs: conf(v4+`, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.9.0.0/16"}, {"dst": "10.8.0.0/16", "gw": "10.1.0.7"}]`, ``)},
		{name: "both families", confs: conf(both+`, "routes": [{"dst": "10.9.0.0/16"}, {"dst": "fd09::/64"}]`, ``)},
		{name: "two addresses of one subnet", confs: conf(`"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "10.1.0.6/24", "gateway": "10.1.0.1"}]`, ``)},
		{name: "two subnets", confs: conf(`"addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "10.2.0.5/24", "gateway": "10.2.0.1"}]`, ``)},
		{name: "a table of somebody else's", confs: conf(both, `, "table": 500`)},
		{name: "tables in use", confs: conf(both, ``), prepare: func(n *testNode, pod string) {
			n.inside(pod, func() error {
				for _, table := range []int{100, 102} {
					rule := netlink.NewRule()
					rule.Table, rule.Src = table, new(mustCIDR("10.7.0.0/16"))
					if err := netlink.RuleAdd(rule); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{name: "no address", confs: []string{`{"type": "macvlan", "master": "up0"}`, `{"type": "sbr", "builtin": BUILTIN}`}, fails: "gave interface net1 no address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.memberOnly = true
			tt.run(t, dir)
		})
	}
}

// The networks of a pod are made side by side. Each gets a table of its own.
func TestSBROfSeveralNetworks(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	var group errgroup.Group
	for i := range 6 {
		list, err := listOf("", fmt.Sprintf(`{"type": "macvlan", "master": "up0", "ipam": {"type": "static", "addresses": [{"address": "10.%d.0.5/24", "gateway": "10.%d.0.1"}]}}`, i, i), `{"type": "sbr"}`)
		if err != nil {
			t.Fatal(err)
		}
		c := Call{SandboxID: "s1", IfName: fmt.Sprintf("net%d", i+1), Netns: ledger.Netns{Path: pod}}
		group.Go(func() error {
			att, err := n.set.Prepare(t.Context(), c, list)
			if err == nil {
				_, err = n.set.Add(t.Context(), c, &att)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	text := n.survey(pod, nil)
	for table := 100; table < 106; table++ {
		if got := strings.Count(text, fmt.Sprintf(" table %d\n", table)); got != 1 { // rules end so
			t.Errorf("table %d has %d rules: %s", table, got, text)
		}
	}
}
