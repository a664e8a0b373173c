//go:build root

package attach

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

// testNode is the real kernel with a namespace in the host's place.
type testNode struct {
	t    testing.TB
	host string
	set  *Set
}

func newTestNode(t testing.TB) *testNode {
	n := &testNode{t: t, host: netnstest.New(t)}
	n.set = New(Deps{Sysfs: n, HostLocalDir: t.TempDir(), VLANLinkUsers: func(string, string, string) (int, error) { return 0, nil }})
	n.set.kernel = n
	n.uplink()
	return n
}

// uplink makes the bridge up0, with a port that has a carrier: a veth is no uplink.
func (n *testNode) uplink() {
	n.veth("up0port", "up0peer")
	n.inside(n.host, func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "up0", TxQLen: -1}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		port, err := netlink.LinkByName("up0port")
		if err == nil {
			err = netlink.LinkSetMaster(port, bridge)
		}
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(bridge)
	})
}

func (n *testNode) Host() (*Links, error) { return n.At(ledger.Netns{Path: n.host}) }

func (n *testNode) At(ns ledger.Netns) (*Links, error) {
	l, err := linux{}.At(ns)
	if err != nil {
		return nil, err
	}
	s := standIns{l}
	return &Links{s, l, s, l, l, l, l, l, l}, nil
}

// standIns is a kernel in which a veth end is the netdev of a PCI device.
type standIns struct{ *Links }

func (s standIns) ByName(name string) (link.Link, error) { return standIn(s.Links.ByName(name)) }
func (s standIns) ByIndex(i int) (link.Link, error)      { return standIn(s.Links.ByIndex(i)) }

func (s standIns) List() ([]link.Link, error) {
	links, err := s.Links.List()
	for i := range links {
		links[i], _ = standIn(links[i], nil)
	}
	return links, err
}

func standIn(l link.Link, err error) (link.Link, error) {
	if isStandIn(l) {
		l.ParentDev = vethAddr.String()
	}
	return l, err
}

// nicMAC is the MAC of a macvlan that stands in for a NIC: no floor refuses that.
const nicMAC = "02:00:00:00:ee:01"

func isStandIn(l link.Link) bool {
	return l.MAC == nicMAC || l.Kind == "veth" && l.Name != "peer" && l.Name != "net9" && !strings.HasPrefix(l.Name, "up0") && !strings.HasPrefix(l.Name, "eth0")
}

// VF, PF and Netdevs are a sysfs in which the veth end is a VF without a PF.
func (n *testNode) VF(addr pci.Address) (device.VF, error) {
	names, err := n.Netdevs(addr)
	return device.VF{Address: addr, Driver: "veth", Netdev: strings.Join(names, "")}, err
}

func (n *testNode) NetdevParent(addr pci.Address) string { return addr.String() }

func (n *testNode) FunctionOf(string) (pci.Address, bool) { return pci.Address{}, false }

func (n *testNode) Driver(pci.Address) (string, error) { return "veth", nil }

func (n *testNode) PF(pci.Address) (device.PF, error) { return device.PF{}, fs.ErrNotExist }

func (n *testNode) Netdevs(pci.Address) ([]string, error) {
	h := n.handle(n.host)
	defer h.Close()
	links, err := h.List()
	for _, l := range links {
		if isStandIn(l) {
			return []string{l.Name}, err
		}
	}
	return nil, err
}

func (n *testNode) handle(path string) *link.Handle {
	n.t.Helper()
	h, err := link.OpenAt(path)
	if err != nil {
		n.t.Fatal(err)
	}
	return h
}

// veth makes a pair on the host, both ends up.
func (n *testNode) veth(name, peer string) {
	n.t.Helper()
	n.inside(n.host, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, PeerName: peer}); err != nil {
			return err
		}
		for _, end := range []string{name, peer} {
			if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: end}}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (n *testNode) inside(path string, fn func() error) {
	n.t.Helper()
	if err := netns.With(path, fn); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) bind(kind, conf, pod, ifName, sandbox string, device pci.Address) ledger.Attachment {
	n.t.Helper()
	a := attacher{n.set, kind}
	att, err := a.Prepare(context.Background(), Request{SandboxID: sandbox, Netns: pod, IfName: ifName, Network: "ns/fast", Config: json.RawMessage(conf), Device: device})
	if err != nil {
		n.t.Fatal(err)
	}
	result, err := a.Bind(context.Background(), Env{SandboxID: sandbox}, &att, pod)
	if err != nil {
		n.t.Fatal(err)
	}
	att.Result, _ = json.Marshal(result)
	return att
}

func (n *testNode) release(att ledger.Attachment, pod, sandbox string) {
	n.t.Helper()
	a := attacher{n.set, att.Members[0].Plugin}
	if err := a.Release(context.Background(), Env{SandboxID: sandbox}, att, pod); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) check(att ledger.Attachment, pod, sandbox string) {
	n.t.Helper()
	a := attacher{n.set, att.Members[0].Plugin}
	if err := a.Check(context.Background(), Env{SandboxID: sandbox}, att, pod); err != nil {
		n.t.Error(err)
	}
}

// dump is the links of a namespace with their addresses and routes, as text.
func (n *testNode) dump(path string) string {
	n.t.Helper()
	h := n.handle(path)
	defer h.Close()
	links, err := h.List()
	if err != nil {
		n.t.Fatal(err)
	}
	var lines []string
	for _, l := range links {
		if l.Name == "lo" || l.Kind == "" {
			continue
		}
		words := []string{l.Name, l.Kind, fmt.Sprint("mtu ", l.MTU), map[bool]string{true: "up", false: "down"}[l.Up], l.MAC}
		for _, alt := range slices.Sorted(slices.Values(l.AltNames)) {
			words = append(words, "altname "+alt)
		}
		addrs, _ := h.IP.Addresses(l.Index)
		for _, a := range addrs {
			if !a.IPNet.IP.IsLinkLocalUnicast() {
				words = append(words, a.IPNet.String())
			}
		}
		routes, _ := h.IP.Routes(l.Index)
		for _, r := range routes {
			if r.Table == unix.RT_TABLE_MAIN && r.GW != nil {
				words = append(words, "route "+r.String())
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

const macvlanConf0 = `{"cniVersion": "1.0.0", "name": "fast", "type": "macvlan", "master": "up0", "mtu": 1400, "mac": "02:00:00:cc:00:01", ` + hostLocal + `}`

func TestMacvlanInARealNamespace(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	before := n.dump(n.host)
	att := n.bind("macvlan", macvlanConf0, pod, "net1", "s1", pci.Address{})
	if diff := cmp.Diff("net1 macvlan mtu 1400 up 02:00:00:cc:00:01 10.1.0.2/24 route 10.9.0.0/16 via 10.1.0.1", n.dump(pod)); diff != "" {
		t.Error(diff)
	}
	n.check(att, pod, "s1")
	for range 2 {
		n.release(att, pod, "s1")
		if left := n.dump(pod); left != "" {
			t.Errorf("left: %s", left)
		}
	}
	if diff := cmp.Diff(before, n.dump(n.host)); diff != "" {
		t.Error(diff)
	}
}

func TestTwoPodsTalkOverTheirMacvlans(t *testing.T) {
	n := newTestNode(t)
	conf := `{"cniVersion": "1.0.0", "name": "fast", "type": "macvlan", "master": "up0", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}}`
	pods := []string{netnstest.New(t), netnstest.New(t)}
	for i, pod := range pods {
		n.bind("macvlan", conf, pod, "net1", fmt.Sprint("s", i), pci.Address{})
	}
	for _, ip := range []string{"10.1.0.2", "fd00::2"} {
		var listener net.Listener
		n.inside(pods[0], func() (err error) {
			// At once, while duplicate address detection runs: the address is optimistic.
			listener, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
			return err
		})
		defer listener.Close()
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				_, _ = io.WriteString(conn, "hello")
				conn.Close()
			}
		}()
		n.inside(pods[1], func() error {
			conn, err := net.DialTimeout("tcp", listener.Addr().String(), 10*time.Second)
			if err != nil {
				return err
			}
			defer conn.Close()
			got, err := io.ReadAll(conn)
			if string(got) != "hello" {
				t.Errorf("over %s came %q", ip, got)
			}
			return err
		})
	}
}

func TestReleaseAfterTheNamespaceEnded(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	att := n.bind("macvlan", macvlanConf0, pod, "net1", "s1", pci.Address{})
	netnstest.Remove(t, pod)
	n.release(att, pod, "s1")
	if left := taken(t, n.set.HostLocalDir); len(left) > 0 {
		t.Errorf("addresses leaked: %v", left)
	}
}

func TestThreeInterfacesGoAsOneGroup(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	var atts []ledger.Attachment
	for i := range 3 {
		conf := strings.Replace(macvlanConf0, `"02:00:00:cc:00:01"`, fmt.Sprintf(`"02:00:00:cc:00:%02d"`, i), 1)
		atts = append(atts, n.bind("macvlan", conf, pod, fmt.Sprintf("net%d", i+1), "s1", pci.Address{}))
	}
	if err := New(Deps{}).DeleteLinks(context.Background(), atts, ledger.Netns{Path: pod}); err != nil {
		t.Fatal(err)
	}
	if left := n.dump(pod); left != "" {
		t.Errorf("left: %s", left)
	}
	for _, att := range atts {
		n.release(att, pod, "s1")
	}
	if left := taken(t, n.set.HostLocalDir); len(left) > 0 {
		t.Errorf("addresses leaked: %v", left)
	}
}

// meta-cni E10: the networks of a sandbox are made side by side on shared handles.
func TestNetworksSideBySideShareHandles(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	handles := n.set.Open(ledger.Netns{Path: pod})
	atts := make([]ledger.Attachment, 6)
	each := func(fn func(c Call, att *ledger.Attachment) error) {
		var group errgroup.Group
		for i := range atts {
			c := Call{SandboxID: "s1", IfName: fmt.Sprintf("net%d", i+1), Netns: ledger.Netns{Path: pod}, Handles: handles}
			group.Go(func() error { return fn(c, &atts[i]) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	each(func(c Call, att *ledger.Attachment) (err error) {
		list, err := listOf("", `{"type": "macvlan", "master": "up0", `+hostLocal+`}`, `{"type": "tuning", "mtu": 1300}`)
		if err == nil {
			*att, err = n.set.Prepare(t.Context(), c, list)
		}
		return err
	})
	each(func(c Call, att *ledger.Attachment) error {
		result, err := n.set.Add(t.Context(), c, att)
		att.Result, _ = json.Marshal(result)
		return err
	})
	each(func(c Call, att *ledger.Attachment) error { return n.set.Check(t.Context(), c, *att) })
	each(func(c Call, att *ledger.Attachment) error { return n.set.Del(t.Context(), c, att) })
	handles.Close()
	if left := n.dump(pod); left != "" || len(taken(t, n.set.HostLocalDir)) > 0 {
		t.Errorf("left: %s", left)
	}
}

const vethVF = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov", "mac": "02:00:00:cc:00:01", "mtu": 1400, ` + hostLocal + `}`

var vethAddr = pci.MustParseAddress("0000:05:00.0")

func TestVFNetdevGoesIntoThePodAndComesHome(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	// The leftovers of another pod on the host must not be in the way.
	n.veth("net9", "up0x")
	pod := netnstest.New(t)
	before := n.dump(n.host)
	att := n.bind("sriov", vethVF, pod, "net1", "s1", vethAddr)
	if diff := cmp.Diff("net1 veth mtu 1400 up 02:00:00:cc:00:01 10.1.0.2/24 route 10.9.0.0/16 via 10.1.0.1", n.dump(pod)); diff != "" {
		t.Error(diff)
	}
	for _, knob := range []string{"ipv4/conf/net1/arp_notify", "ipv6/conf/net1/ndisc_notify"} {
		n.inside(pod, func() error {
			got, err := os.ReadFile("/proc/sys/net/" + knob)
			if strings.TrimSpace(string(got)) != "1" {
				t.Errorf("%s is %s", knob, got)
			}
			return err
		})
	}
	n.check(att, pod, "s1")
	for range 2 {
		n.release(att, pod, "s1")
		if diff := cmp.Diff(before, n.dump(n.host)); diff != "" {
			t.Error(diff)
		}
	}
	if left := n.dump(pod); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestVFBindThatFailsLateComesHome(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	before := n.dump(n.host)
	a := attacher{n.set, "sriov"}
	conf := strings.Replace(vethVF, `"dst": "10.9.0.0/16"`, `"dst": "10.9.0.0/16", "gw": "10.77.0.1"`, 1)
	att, err := a.Prepare(context.Background(), Request{IfName: "net1", Config: json.RawMessage(conf), Device: vethAddr})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Bind(context.Background(), env, &att, pod)
	if err == nil || !strings.Contains(err.Error(), "10.9.0.0/16 via 10.77.0.1") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, n.dump(n.host)); diff != "" {
		t.Error(diff)
	}
	if left := taken(t, n.set.HostLocalDir); len(left) > 0 || n.dump(pod) != "" {
		t.Errorf("left: %v %s", left, n.dump(pod))
	}
}
