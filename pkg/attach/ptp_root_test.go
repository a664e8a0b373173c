//go:build root

package attach

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

// meta-cni, "built-ins absent": ptp.
func TestPTPIsAsTheStockPlugin(t *testing.T) {
	dir := stockPlugins(t, "main/ptp", "ipam/static")
	conf := func(fields string) []string { return []string{`{"type": "ptp", "builtin": BUILTIN, ` + fields + `}`} }
	for _, tt := range []comparison{
		{name: "IPv4", confs: conf(`"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]}`)},
		{name: "both families, routes, DNS", confs: conf(withGateways)},
		{name: "its own DNS, MTU", confs: conf(`"mtu": 1400, "dns": {"nameservers": ["10.1.0.8"]}, ` + withGateways)},
		{name: "a default route", confs: conf(`"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}`)},
		{name: "two addresses", confs: conf(`"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "10.2.0.5/24", "gateway": "10.2.0.1"}]}`)},
		{name: "no gateway", confs: conf(`"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}`), fails: "gave no gateway for 10.1.0.5"},
		{name: "no ipam", confs: conf(`"mtu": 1400`), fails: `field "ipam"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fails == "" {
				tt.sysctls = []string{"host:ipv4/ip_forward", "host:ipv6/conf/all/forwarding", "host:ipv6/conf/VETH/accept_ra",
					"pod:ipv6/conf/net1/disable_ipv6", "pod:ipv6/conf/net1/keep_addr_on_down"}
			}
			tt.run(t, dir)
		})
	}
}

// Two pods reach each other by way of the host. A lost pair is made again (reports 20).
func TestPodsOfAPTPNetwork(t *testing.T) {
	n := newTestNode(t)
	conf := `{"name": "fast", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]], "routes": [{"dst": "10.0.0.0/8"}]}}`
	pods := []string{netnstest.New(t), netnstest.New(t)}
	var atts []ledger.Attachment
	for i, pod := range pods {
		atts = append(atts, n.bind("ptp", conf, pod, "net1", fmt.Sprint("s", i), pci.Address{}))
		n.check(atts[i], pod, fmt.Sprint("s", i))
	}
	reach := func() {
		for _, ip := range []string{"10.1.0.2", "fd00::2"} {
			n.connects(pods[1], pods[0], ip)
		}
	}
	reach()
	before := n.dump(pods[0])
	n.deleteLink(n.host, atts[0].Members[0].Veth.Host)
	c := Call{SandboxID: "s0", Netns: ledger.Netns{Path: pods[0]}}
	if lost, err := NewMender(n.set).Lost(c, atts[0]); !lost || err != nil {
		t.Errorf("%t, %v", lost, err)
	}
	if err := NewMender(n.set).Remake(t.Context(), c, &atts[0]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.dump(pods[0])); diff != "" {
		t.Error(diff)
	}
	n.check(atts[0], pods[0], "s0")
	reach()
	netnstest.Remove(t, pods[1])
	for i, pod := range pods {
		n.release(atts[i], pod, fmt.Sprint("s", i))
	}
	if text := n.dump(n.host); strings.Contains(text, "\nveth") {
		t.Errorf("left: %s", text)
	}
	if left := taken(t, n.set.HostLocalDir); len(left) > 0 {
		t.Errorf("addresses leaked: %v", left)
	}
}
