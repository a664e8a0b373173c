//go:build root

package attach

import "testing"

// meta-cni, "built-ins absent": bandwidth.
func TestBandwidthIsAsTheStockPlugin(t *testing.T) {
	dir := stockPlugins(t, "meta/bandwidth", "ipam/static")
	conf := func(fields string) []string {
		return []string{`{"type": "bridge", "bridge": "br9", "mtu": 1400, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}}`, `{"type": "bandwidth", "builtin": BUILTIN, ` + fields + `}`}
	}
	for _, tt := range []comparison{
		{name: "no limit", confs: conf(`"x": 1`)},
		{name: "zero", confs: conf(`"ingressRate": 0, "ingressBurst": 0`)},
		{name: "to the pod", confs: conf(`"ingressRate": 8000000, "ingressBurst": 80000`)},
		{name: "from the pod", confs: conf(`"egressRate": 8000000, "egressBurst": 80000`)},
		{name: "both", confs: conf(limits)},
		{name: "the pod's", confs: conf(`"runtimeConfig": {"bandwidth": {` + limits + `}}`)},
		{name: "the config's before the pod's", confs: conf(`"ingressRate": 4000000, "ingressBurst": 40000, "runtimeConfig": {"bandwidth": {` + limits + `}}`)},
		{name: "no burst", confs: conf(`"ingressRate": 4000000`), fails: `field "ingressBurst"`},
		{name: "a macvlan", confs: []string{`{"type": "macvlan", "master": "up0"}`, `{"type": "bandwidth", "builtin": BUILTIN, ` + limits + `}`}, fails: "is no veth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.memberOnly = true
			tt.run(t, dir)
		})
	}
}
