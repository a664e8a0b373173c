//go:build root

package attach

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

const (
	bothFamilies = `"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}, {"address": "fd00::5/64"}]}`
	withGateways = `"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.9"}, {"address": "fd00::5/64", "gateway": "fd00::9"}],
		"routes": [{"dst": "10.9.0.0/16"}, {"dst": "fd09::/64"}, {"dst": "10.8.0.0/16", "gw": "10.1.0.7"}], "dns": {"nameservers": ["10.1.0.9"]}}`
)

func bridgeConfOf(fields string) []string {
	return []string{`{"type": "bridge", "builtin": BUILTIN, "bridge": "br9", ` + fields + `}`}
}

// meta-cni, "built-ins absent: bridge".
func TestBridgeIsAsTheStockPlugin(t *testing.T) {
	dir := stockPlugins(t, "main/bridge", "ipam/static", "meta/tuning")
	oldBridge := func(addrs ...string) func(*testNode, string) {
		return func(n *testNode, _ string) {
			n.hostLink(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br9", TxQLen: -1}}, addrs...)
		}
	}
	sysctls := []string{"host:ipv4/ip_forward", "host:ipv6/conf/all/forwarding", "host:ipv6/conf/br9/accept_ra", "host:ipv6/conf/VETH/accept_ra",
		"pod:ipv4/conf/net1/arp_notify", "pod:ipv6/conf/net1/accept_dad", "pod:ipv6/conf/net1/enhanced_dad", "pod:ipv6/conf/net1/disable_ipv6",
		"pod:ipv6/conf/net1/keep_addr_on_down", "pod:ipv6/conf/lo/disable_ipv6"}
	for _, tt := range []comparison{
		{name: "without addresses", confs: bridgeConfOf(`"mtu": 0`)},
		{name: "the default bridge", confs: []string{`{"type": "bridge", "builtin": BUILTIN}`}},
		{name: "addresses", confs: bridgeConfOf(bothFamilies)},
		{name: "addresses, gateways, routes, DNS", confs: bridgeConfOf(withGateways)},
		{name: "its own DNS", confs: bridgeConfOf(`"dns": {"nameservers": ["10.1.0.8"], "search": ["x"]}, ` + withGateways)},
		{name: "gateway", confs: bridgeConfOf(`"isGateway": true, ` + bothFamilies)},
		{name: "a gateway that the ipam names", confs: bridgeConfOf(`"isGateway": true, ` + withGateways)},
		{name: "default gateway", confs: bridgeConfOf(`"isDefaultGateway": true, ` + bothFamilies)},
		{name: "default gateway, IPv4 only", confs: bridgeConfOf(`"isDefaultGateway": true, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}`)},
		{name: "two subnets", confs: bridgeConfOf(`"isDefaultGateway": true, "ipam": {"type": "static", "addresses": [{"address": "fd00::5/64"}, {"address": "fd01::5/64"}]}`)},
		{name: "a default route of the ipam", confs: bridgeConfOf(`"isDefaultGateway": true, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}], "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.3"}]}`)},
		{name: "MTU", confs: bridgeConfOf(`"mtu": 1400, ` + bothFamilies)},
		{name: "hairpin", confs: bridgeConfOf(`"hairpinMode": true`)},
		{name: "isolated", confs: bridgeConfOf(`"portIsolation": true`)},
		{name: "promiscuous", confs: bridgeConfOf(`"promiscMode": true`)},
		{name: "duplicate address detection", confs: bridgeConfOf(`"enabledad": true, "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}`)},
		{name: "it stays down", confs: bridgeConfOf(`"disableContainerInterface": true`)},
		{name: "the MAC of CNI_ARGS", confs: bridgeConfOf(`"mtu": 0`), args: "IgnoreUnknown=1;MAC=02:00:00:00:00:78"},
		{name: "the MAC of args", confs: bridgeConfOf(`"args": {"cni": {"mac": "02:00:00:00:00:79"}}`), args: "IgnoreUnknown=1;MAC=02:00:00:00:00:78"},
		{name: "the capability", confs: bridgeConfOf(`"args": {"cni": {"mac": "02:00:00:00:00:79"}}, "runtimeConfig": {"mac": "02:00:00:00:00:80"}`), args: "IgnoreUnknown=1;MAC=02:00:00:00:00:78"},
		{name: "a bridge that is there", confs: bridgeConfOf(`"mtu": 1400, "isGateway": true, ` + bothFamilies), prepare: oldBridge()},
		{name: "a bridge with the address", confs: bridgeConfOf(`"isGateway": true, ` + bothFamilies), prepare: oldBridge("10.1.0.1/24", "fd00::1/64")},
		{name: "a bridge with another address", confs: bridgeConfOf(`"isGateway": true, ` + bothFamilies), prepare: oldBridge("10.2.0.1/24"), fails: "has another address than the network's gateway"},
		{name: "the address is forced", confs: bridgeConfOf(`"isGateway": true, "forceAddress": true, ` + bothFamilies), prepare: oldBridge("10.2.0.1/24", "fd00::1/60")},
		{name: "an IPv6 address of another subnet", confs: bridgeConfOf(`"isGateway": true, ` + bothFamilies), prepare: oldBridge("fd01::1/64")},
		{name: "a link that is no bridge", confs: bridgeConfOf(`"mtu": 0`), prepare: func(n *testNode, _ string) { n.veth("br9", "up0other") }, fails: "is no bridge"},
		{name: "hairpin and promiscuous", confs: bridgeConfOf(`"hairpinMode": true, "promiscMode": true`), fails: "excludes promiscMode"},
		{name: "down and addresses", confs: bridgeConfOf(`"disableContainerInterface": true, ` + bothFamilies), fails: "disableContainerInterface"},
		{name: "the name is taken", confs: bridgeConfOf(`"mtu": 0`), prepare: func(n *testNode, pod string) {
			n.inside(pod, func() error {
				return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1", TxQLen: -1}, PeerName: "net9"})
			})
		}, fails: "the pod has an interface net1 already"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.fails == "" && tt.name != "the default bridge" {
				tt.sysctls = sysctls
			}
			tt.run(t, dir)
		})
	}
}

// connects fails unless a TCP connection from one namespace reaches an address in another.
func (n *testNode) connects(from, to, ip string) {
	n.t.Helper()
	var listener net.Listener
	n.inside(to, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
		return err
	})
	defer listener.Close()
	n.inside(from, func() error {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Two pods on one bridge reach each other and the gateway. The group deletion of a
// sandbox's links takes both ends of its pairs.
func TestPodsOnABridge(t *testing.T) {
	n := newTestNode(t)
	conf := `{"name": "fast", "bridge": "br9", "isGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}}`
	pods := []string{netnstest.New(t), netnstest.New(t)}
	var atts [2][]ledger.Attachment
	for i, pod := range pods {
		for _, ifName := range []string{"net1", "net2"} {
			att := n.bind("bridge", conf, pod, ifName, fmt.Sprint("s", i), pci.Address{})
			n.check(att, pod, fmt.Sprint("s", i))
			atts[i] = append(atts[i], att)
		}
	}
	for _, ip := range []string{"10.1.0.2", "fd00::2"} {
		n.connects(pods[1], pods[0], ip)
	}
	n.connects(pods[0], n.host, "10.1.0.1")
	if err := n.set.DeleteLinks(t.Context(), atts[0], ledger.Netns{Path: pods[0]}); err != nil {
		t.Fatal(err)
	}
	if left := n.dump(pods[0]) + fmt.Sprint(strings.Count(n.dump(n.host), "\nveth")); left != "2" {
		t.Errorf("left: %s", left)
	}
	netnstest.Remove(t, pods[1])
	for i, pod := range pods {
		for _, att := range atts[i] {
			n.release(att, pod, fmt.Sprint("s", i))
		}
	}
	if text := n.dump(n.host); strings.Contains(text, "\nveth") || !strings.Contains(text, "br9") {
		t.Errorf("left: %s", text)
	}
	if left := taken(t, n.set.HostLocalDir); len(left) > 0 {
		t.Errorf("addresses leaked: %v", left)
	}
}

// reports 20, for pairs: a link that is lost, or its bridge too, is made again.
func TestLostPairIsMadeAgain(t *testing.T) {
	for _, lost := range []string{"the pair", "the bridge too", "the bridge only"} {
		n := newTestNode(t)
		pod := netnstest.New(t)
		att := n.bind("bridge", `{"name": "fast", "bridge": "br9", "isDefaultGateway": true, "mtu": 1400, "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}`, pod, "net1", "s1", pci.Address{})
		c := Call{SandboxID: "s1", Netns: ledger.Netns{Path: pod}}
		before, mender := n.dump(pod), NewMender(n.set)
		if lost, err := mender.Lost(c, att); lost || err != nil {
			t.Errorf("a link that is there: %t, %v", lost, err)
		}
		if lost != "the bridge only" {
			n.deleteLink(n.host, att.Members[0].Veth.Host)
		}
		if lost != "the pair" {
			n.deleteLink(n.host, "br9")
		}
		if lost, err := mender.Lost(c, att); !lost || err != nil {
			t.Errorf("%t, %v", lost, err)
		}
		if !CanRemake(att) {
			t.Error("cannot be made again")
		}
		if err := mender.Remake(t.Context(), c, &att); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, n.dump(pod)); diff != "" {
			t.Error(diff)
		}
		n.check(att, pod, "s1")
		n.release(att, pod, "s1")
		if text := n.dump(n.host); strings.Contains(text, "\nveth") {
			t.Errorf("left: %s", text)
		}
	}
}

// BenchmarkBridge has the built-in plugin beside the stock one.
func BenchmarkBridge(b *testing.B) {
	dir := stockPlugins(b, "main/bridge", "ipam/static")
	for _, kind := range []string{"builtin", "program"} {
		n := newTestNode(b)
		pod := netnstest.New(b)
		list, err := listOf("", fmt.Sprintf(`{"type": "bridge", "builtin": %t, "bridge": "br9", "isGateway": true, `+
			`"ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/24"}]}}`, kind == "builtin"))
		if err != nil {
			b.Fatal(err)
		}
		c := Call{SandboxID: "s1", IfName: "net1", Netns: ledger.Netns{Path: pod}, Path: dir, Exec: &hostExec{host: n.host}}
		add := func() ledger.Attachment {
			att, err := n.set.Prepare(b.Context(), c, list)
			if err == nil {
				_, err = n.set.Add(b.Context(), c, &att)
			}
			if err != nil {
				b.Fatal(err)
			}
			return att
		}
		del := func(att ledger.Attachment) {
			if err := n.set.Del(b.Context(), c, &att); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("ADD/"+kind, func(b *testing.B) {
			for b.Loop() {
				att := add()
				b.StopTimer()
				del(att)
				b.StartTimer()
			}
		})
		b.Run("DEL/"+kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				att := add()
				b.StartTimer()
				del(att)
			}
		})
	}
}
