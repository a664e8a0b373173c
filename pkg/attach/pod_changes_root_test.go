//go:build root

package attach

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// Pods, and udev after them, change a VF's netdev while nobody looks.

const movedVF = `{"cniVersion": "1.0.0", "name": "fast", "type": "sriov"}`

func (n *testNode) link(path, name string) (link.Link, bool) {
	n.t.Helper()
	h := n.handle(path)
	defer h.Close()
	l, err := h.ByName(name)
	return l, err == nil && l.Name == name
}

func (n *testNode) index(path, name string) int {
	n.t.Helper()
	l, ok := n.link(path, name)
	if !ok {
		n.t.Fatalf("no link %s in %s", name, path)
	}
	return l.Index
}

// cni#250, cni#445: wherever the VF gets altnames, and whatever they are, it goes
// into the pod and comes home as it was.
func TestVFWithAltnames(t *testing.T) {
	tests := []struct {
		name            string
		before          []string // on the host, before ADD
		inPod, cameHome []string // given by the pod; by udev, after the namespace ended
	}{
		{"the interface's name in the pod", []string{"net1"}, nil, nil},
		{"the name of another interface of the pod", []string{"eth0"}, nil, nil},
		{"given by the pod: the VF's name on the host", nil, []string{"eth3"}, nil},
		{"given by the pod: another link's name on the host", []string{"fast0"}, []string{"up0"}, nil},
		{"given by udev: the name that the VF had", nil, nil, []string{"eth3"}},
		{"all of them", []string{"net1", "eth0"}, []string{"up0", "other"}, []string{"eth3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newTestNode(t)
			n.veth("eth3", "peer")
			pod := netnstest.New(t)
			host, inside := n.handle(n.host), n.handle(pod)
			defer host.Close()
			n.inside(pod, func() error {
				return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", TxQLen: -1}, PeerName: "eth0x"})
			})
			altnames(t, host, "eth3", tt.before)
			before, inPod := n.dump(n.host), n.dump(pod)
			att := stored(t, n.bind("sriov", vethVF, pod, "net1", "s1", vethAddr))
			altnames(t, inside, "net1", tt.inPod)
			if tt.cameHome != nil { // as the kernel does it, and udev then
				l, _ := inside.ByName("net1")
				for _, alt := range l.AltNames {
					_ = inside.DeleteAltName(l.Index, alt)
				}
				if err := inside.MoveTo(l.Index, host, "net1", 0); err != nil {
					t.Fatal(err)
				}
				altnames(t, host, "net1", tt.cameHome)
			}
			inside.Close()
			for range 2 {
				n.release(att, pod, "s1")
				if diff := cmp.Diff(before, n.dump(n.host)); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff(inPod, n.dump(pod)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func altnames(t *testing.T, h *link.Handle, name string, alts []string) {
	t.Helper()
	l, err := h.ByName(name)
	for _, alt := range alts {
		err = errors.Join(err, h.AddAltName(l.Index, alt))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The next pod must not hear the frames that the last one had its VF listen to.
func TestListeningEndsWithThePod(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	pod := netnstest.New(t)
	att := n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr)
	inPod := n.handle(pod)
	defer inPod.Close()
	index := n.index(pod, "net1")
	if err := inPod.SetAttributes(index, link.Attributes{Promisc: new(true), AllMulti: new(true)}); err != nil {
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
	a := attacher{n.set, att.Members[0].Plugin}
	if err := a.Check(context.Background(), env, att, pod); err == nil || !strings.Contains(err.Error(), `interface net1 is of kind "bridge", not VF 0000:05:00.0`) {
		t.Errorf("Check: %v", err)
	}
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
	a := attacher{n.set, "sriov"}
	_, err := a.Prepare(context.Background(), Request{SandboxID: "s1", Netns: "", IfName: "net1", Network: "ns/fast", Config: []byte(movedVF), Device: vethAddr})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.7/24") || !strings.Contains(err.Error(), "the host itself uses") {
		t.Errorf("got %v", err)
	}
}

// meta-cni A2, S6: nor is one below a link by which the node is reached.
func TestAVFBelowTheHostsOwnLinkIsRefused(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	n.inside(n.host, func() error {
		return netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "node0", ParentIndex: n.index(n.host, "eth3"), TxQLen: -1}, Mode: netlink.MACVLAN_MODE_BRIDGE})
	})
	a := attacher{n.set, "sriov"}
	_, err := a.Prepare(context.Background(), Request{SandboxID: "s1", IfName: "net1", Network: "ns/fast", Config: []byte(movedVF), Device: vethAddr})
	if err == nil || !strings.Contains(err.Error(), "the host itself uses interface eth3 of device 0000:05:00.0 below node0") {
		t.Errorf("got %v", err)
	}
}

// One that is up hears router advertisements, and has an address by them.
func TestAVFWithAnAdvertisedAddressIsNotInUse(t *testing.T) {
	n := newTestNode(t)
	n.veth("eth3", "peer")
	n.inside(n.host, func() error {
		addr, err := netlink.ParseAddr("2001:db8::7/64")
		if err != nil {
			return err
		}
		addr.ValidLft, addr.PreferedLft = 600, 600
		return netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth3", Index: n.index(n.host, "eth3")}}, addr)
	})
	pod := netnstest.New(t)
	n.release(n.bind("sriov", movedVF, pod, "net1", "s1", vethAddr), pod, "s1")
}
