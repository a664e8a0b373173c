//go:build root

package attach

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

// seen is everything of a netdev that a pod can change.
func (n *testNode) seen(path, name string) string {
	n.t.Helper()
	h, err := open(link.OpenAt(path))
	if err != nil {
		n.t.Fatal(err)
	}
	defer h.Close()
	l, err := h.ByName(name)
	if err != nil {
		n.t.Fatal(err)
	}
	features, err := h.Features(name)
	if err != nil {
		n.t.Fatal(err)
	}
	state := netdevState(l, features)
	state.Up = false // the peer's carrier
	return asJSON(n.t, state)
}

// meta-cni A3, S9: the real kernel keeps all this when a netdev moves.
func TestAVFComesBackAsNew(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	before := n.seen(n.host, "eth3")
	att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
	inPod, err := open(link.OpenAt(pod))
	if err != nil {
		t.Fatal(err)
	}
	index := n.index(pod, "net1")
	err = inPod.SetAttributes(index, link.Attributes{Alias: new("tenant A was here"), TxQLen: new(7), Group: new(uint32(linkGroup)),
		GSOMaxSize: new(4096), GSOMaxSegs: new(3), GROMaxSize: new(4096), Promisc: new(true), AllMulti: new(true), ARP: new(false), Multicast: new(false)})
	if err != nil {
		t.Fatal(err)
	}
	features, err := inPod.Features("net1")
	if err != nil {
		t.Fatal(err)
	}
	off := map[string]bool{}
	for _, f := range features {
		off[f] = false
	}
	if err := inPod.SetFeatures("net1", off); err != nil {
		t.Fatal(err)
	}
	if now, _ := inPod.Features("net1"); len(now) >= len(features) {
		t.Fatalf("features %v were %v", now, features)
	}
	inPod.Close()
	n.release(att, pod, "s1")
	if diff := cmp.Diff(before, n.seen(n.host, "eth3")); diff != "" {
		t.Error(diff)
	}
}

// S8: the kernel takes some 500 altnames of 127 bytes.
func TestAVFWithAsManyAltnamesAsTheKernelTakes(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	before := n.dump(n.host)
	att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
	given := 0
	n.inside(pod, func() error {
		l := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: n.index(pod, "net1")}}
		for ; given < 1000; given++ {
			if netlink.LinkAddAltName(l, fmt.Sprintf("%0127d", given)) != nil {
				break
			}
		}
		return nil
	})
	start := time.Now()
	n.release(att, pod, "s1")
	t.Logf("%d altnames; DEL took %v", given, time.Since(start))
	if given < 240 || time.Since(start) > 5*time.Second {
		t.Errorf("%d altnames took %v", given, time.Since(start))
	}
	if diff := cmp.Diff(before, n.dump(n.host)); diff != "" {
		t.Error(diff)
	}
}

// meta-cni A4: the path of a pod that is gone leads to another pod's namespace.
func TestALateDELLeavesTheNextPodAlone(t *testing.T) {
	n := newTestNode(t)
	first, second := netnstest.New(t), netnstest.New(t)
	ns, err := Identify(first)
	if err != nil {
		t.Fatal(err)
	}
	if ns.Path != first || ns.Inode == 0 || ns.Boot == "" {
		t.Errorf("got %+v", ns)
	}
	var atts []ledger.Attachment
	for i := range 2 {
		atts = append(atts, n.bind("macvlan", `{"master": "up0"}`, second, fmt.Sprintf("net%d", i+1), "s2", pci.Address{}))
	}
	before := n.dump(second)
	ns.Path = second // as if the runtime had used the path again
	if err := n.set.DeleteLinks(t.Context(), atts, ns); err != nil {
		t.Error(err)
	}
	for _, att := range atts {
		if err := n.set.Del(t.Context(), Call{SandboxID: "s1", Netns: ns}, &att); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(before, n.dump(second)); diff != "" {
		t.Error(diff)
	}
}

func TestNobodysNamespaceIsTheHosts(t *testing.T) {
	if _, err := Identify("/proc/self/ns/net"); !errors.Is(err, ErrHostNetns) {
		t.Errorf("Identify: %v", err)
	}
	if _, err := (linux{}).At(ledger.Netns{Path: "/proc/self/ns/net"}); !errors.Is(err, ErrHostNetns) {
		t.Errorf("open: %v", err)
	}
	id, err := netns.Identify("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	earlier := ledger.Netns{Path: "/proc/self/ns/net", Inode: id.Inode, Boot: "another"}
	if _, err := (linux{}).At(earlier); !netns.IsGone(err) {
		t.Errorf("of an earlier boot: %v", err)
	}
}

// S17: the host does not route for the tenants' VLAN.
func TestAVLANLinkIsNoDoorToTheHost(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	list, err := listOf("", `{"type": "sriov", "fallback": ["macvlan"], "uplink": "up0", "vlan": 100}`)
	if err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s1", IfName: "net1", Netns: ledger.Netns{Path: pod}}
	att, err := n.set.Prepare(t.Context(), c, list)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.set.Add(t.Context(), c, &att); err != nil {
		if strings.Contains(err.Error(), "8021q") {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	h, err := open(link.OpenAt(n.host))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	got, err := h.Sysctls("ipv4/conf/up0.100/rp_filter", "ipv4/conf/up0.100/arp_ignore", "ipv6/conf/up0.100/disable_ipv6")
	if want := "[{ipv4/conf/up0.100/rp_filter 1} {ipv4/conf/up0.100/arp_ignore 8} {ipv6/conf/up0.100/disable_ipv6 1}]"; fmt.Sprint(got) != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
