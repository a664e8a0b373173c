//go:build root

package attach

import (
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// meta-cni, "built-ins absent: host-device". The stock plugin finds the link by its name, the
// built-in one by the PCI address of the device that it stands in for. The stock plugin
// keeps the old name in the alias, the built-in one in its record.
func TestHostDeviceIsAsTheStockPlugin(t *testing.T) {
	dir := stockPlugins(t, "main/host-device", "ipam/static")
	nic := func(up bool) func(n *testNode, _ string) {
		return func(n *testNode, _ string) {
			n.inside(n.host, func() error {
				parent, err := netlink.LinkByName("up0")
				if err != nil {
					return err
				}
				mac, _ := net.ParseMAC(nicMAC)
				l := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "nic3", TxQLen: -1, MTU: 1400, ParentIndex: parent.Attrs().Index, HardwareAddr: mac}, Mode: netlink.MACVLAN_MODE_BRIDGE}
				if err := netlink.LinkAdd(l); err != nil || !up {
					return err
				}
				return netlink.LinkSetUp(l)
			})
		}
	}
	conf := func(fields string) []string {
		return []string{`{"type": "host-device", "builtin": BUILTIN, "pciBusID": "` + vethAddr.String() + `"` + fields + `}`}
	}
	byName := func(conf string) string {
		return strings.Replace(conf, `"pciBusID": "`+vethAddr.String()+`"`, `"device": "nic3"`, 1)
	}
	for _, tt := range []comparison{
		{name: "without addresses", confs: conf(``), prepare: nic(false)},
		{name: "addresses, gateways, routes", confs: conf(`, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.9"}, {"address": "fd00::5/64", "gateway": "fd00::9"}], "routes": [{"dst": "10.9.0.0/16"}]}`), prepare: nic(false)},
		{name: "the name is taken", confs: conf(``), prepare: func(n *testNode, pod string) {
			nic(false)(n, pod)
			n.inside(pod, func() error {
				return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "net1", TxQLen: -1}})
			})
		}, fails: "the pod has an interface net1 already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.stock = byName
			tt.same = func(text string) string { return strings.ReplaceAll(text, `alias "nic3"`, `alias ""`) }
			tt.run(t, dir)
		})
	}
}
