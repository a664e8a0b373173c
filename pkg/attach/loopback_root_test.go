//go:build root

package attach

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// meta-cni, "built-ins absent": loopback.
func TestLoopbackIsAsTheStockPlugin(t *testing.T) {
	dir := stockPlugins(t, "main/loopback")
	for _, tt := range []comparison{
		{name: "alone", confs: []string{`{"type": "loopback", "builtin": BUILTIN}`}},
		{name: "behind another", confs: []string{`{"type": "macvlan", "master": "up0", "mac": "02:00:00:cc:00:01"}`, `{"type": "loopback", "builtin": BUILTIN}`}, memberOnly: true},
		{name: "with a foreign address", confs: []string{`{"type": "loopback", "builtin": BUILTIN}`}, fails: "which is no loopback address", prepare: func(n *testNode, pod string) {
			n.inside(pod, func() error {
				lo, err := netlink.LinkByName("lo")
				if err != nil {
					return err
				}
				return netlink.AddrAdd(lo, &netlink.Addr{IPNet: new(mustCIDR("10.1.0.5/32"))})
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, dir) })
	}
}
