//go:build root

package attach

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// What pods, and udev after them, do to a VF's netdev while nobody looks.

const movedVF = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov"}`

func (n *testNode) link(path, name string) (link.Link, bool) {
	n.t.Helper()
	h := n.handle(path)
	defer h.Close()
	l, err := h.ByName(name)
	return l, err == nil && l.Name == name
}

// altName gives a link an altname, as udev does by its naming policy.
func (n *testNode) altName(path, name, alt string) {
	n.t.Helper()
	n.inside(path, func() error {
		return netlink.LinkAddAltName(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: n.index(path, name)}}, alt)
	})
}

func (n *testNode) index(path, name string) int {
	n.t.Helper()
	l, ok := n.link(path, name)
	if !ok {
		n.t.Fatalf("no link %s in %s", name, path)
	}
	return l.Index
}

// sriov-cni#250, #445: an altname that equals the name that a VF is to have kept
// it from the pod, and from its old name when it came home.
func TestAltNamesAreNotInTheWay(t *testing.T) {
	t.Run("into the pod", func(t *testing.T) {
		n := newTestNode(t)
		n.veth("eth3", "peer")
		n.altName(n.host, "eth3", "net1")
		pod := netnstest.New(t)
		n.release(n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr), pod, "s1")
		if _, home := n.link(n.host, "eth3"); !home {
			t.Errorf("on the host:\n%s", n.dump(n.host))
		}
	})
	t.Run("home, the altname given in the pod", func(t *testing.T) {
		n := newTestNode(t)
		n.veth("eth3", "peer")
		pod := netnstest.New(t)
		att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
		n.altName(pod, "net1", "eth3")
		n.release(att, pod, "s1")
		if _, home := n.link(n.host, "eth3"); !home {
			t.Errorf("on the host:\n%s", n.dump(n.host))
		}
	})
	t.Run("home, the altname given on the host", func(t *testing.T) {
		n := newTestNode(t)
		n.veth("eth3", "peer")
		pod := netnstest.New(t)
		att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
		// The namespace ends: the kernel brings a NIC home under the pod's name. It
		// deletes a veth, so this one is brought by hand.
		host, inPod := n.handle(n.host), n.handle(pod)
		defer host.Close()
		if err := inPod.MoveTo(n.index(pod, "net1"), host, "net1", 0); err != nil {
			t.Fatal(err)
		}
		inPod.Close()
		netnstest.Remove(t, pod)
		n.altName(n.host, "net1", "eth3")
		n.release(att, pod, "s1")
		if _, home := n.link(n.host, "eth3"); !home {
			t.Errorf("on the host:\n%s", n.dump(n.host))
		}
	})
}

// What one pod had its VF listen to, the next one must not hear.
func TestListeningEndsWithThePod(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
	inPod := n.handle(pod)
	defer inPod.Close()
	index := n.index(pod, "net1")
	if err := inPod.SetListening(index, true, true); err != nil {
		t.Fatal(err)
	}
	if l, _ := inPod.ByIndex(index); !l.Promisc || !l.AllMulti {
		t.Fatalf("in the pod: %+v", l)
	}
	n.release(att, pod, "s1")
	if l, home := n.link(n.host, "eth3"); !home || l.Promisc || l.AllMulti {
		t.Errorf("on the host: %+v", l)
	}
}

// A pod may rename its VF and put a link of its own, with the VF's MAC, in its place.
func TestTheVFComesHomeNotItsImpostor(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
	inPod := n.handle(pod)
	defer inPod.Close()
	vf, _ := inPod.ByName("net1")
	if err := inPod.SetDown(vf.Index); err != nil {
		t.Fatal(err)
	}
	if err := inPod.Rename(vf.Index, "net1-nic"); err != nil {
		t.Fatal(err)
	}
	n.inside(pod, func() error {
		impostor := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "net1", TxQLen: -1}}
		if err := netlink.LinkAdd(impostor); err != nil {
			return err
		}
		mac, err := net.ParseMAC(vf.MAC)
		if err != nil {
			return err
		}
		return netlink.LinkSetHardwareAddr(impostor, mac)
	})
	n.release(att, pod, "s1")
	if l, home := n.link(n.host, "eth3"); !home || l.Kind != "veth" {
		t.Errorf("on the host:\n%s", n.dump(n.host))
	}
	if l, there := n.link(pod, "net1"); !there || l.Kind != "bridge" {
		t.Errorf("in the pod:\n%s", n.dump(pod))
	}
}

// A VF by which the node itself is reached is no pod's.
func TestAVFThatTheHostUsesIsRefused(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	n.inside(n.host, func() error {
		addr, err := netlink.ParseAddr("192.0.2.7/24")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth3", Index: n.index(n.host, "eth3")}}, addr)
	})
	a, _ := n.set.For("sriov")
	_, err := a.Prepare(context.Background(), Request{SandboxID: "s1", Netns: "", IfName: "net1", Network: "ns/fast", Config: []byte(movedVF), Device: vethAddr})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.7/24") || !strings.Contains(err.Error(), "the host itself uses") {
		t.Errorf("got %v", err)
	}
}
