//go:build root

package attach

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/pci"
)

func (n *testNode) deleteLink(path, name string) {
	n.t.Helper()
	n.inside(path, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
}

// reports 20: the uplink is made again. The pod gets the same link, built from the record.
func TestLostLinkIsMadeAgain(t *testing.T) {
	confs := map[string]string{
		"macvlan": macvlanConf0,
		// The kernel chooses its MAC, and the pod's neighbours know it.
		"macvlan with any MAC": `{"cniVersion": "1.0.0", "name": "fast", "type": "macvlan", "master": "up0", ` + hostLocal + `}`,
	}
	for name, conf := range confs {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t)
			pod := netnstest.New(t)
			att := n.bind(strings.Fields(name)[0], conf, pod, "net1", "s1", pci.Address{})
			c := Call{SandboxID: "s1", Netns: ledger.Netns{Path: pod}}
			before := n.dump(pod)
			if lost, err := NewMender(n.set).Lost(c, att); lost || err != nil {
				t.Fatalf("lost %v, %v before", lost, err)
			}
			n.deleteLink(n.host, "up0")
			if lost, err := NewMender(n.set).Lost(c, att); !lost || err != nil {
				t.Fatalf("lost %v, %v after the uplink was deleted", lost, err)
			}
			if err := NewMender(n.set).Remake(t.Context(), c, &att); !errors.Is(err, link.ErrNotFound) {
				t.Errorf("without an uplink: %v", err)
			}
			n.deleteLink(n.host, "up0port")
			n.uplink()
			if err := NewMender(n.set).Remake(t.Context(), c, &att); err != nil {
				t.Fatal(err)
			}
			after := n.dump(pod)
			n.check(att, pod, "s1")
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
			if lost, err := NewMender(n.set).Lost(c, att); lost || err != nil {
				t.Errorf("lost %v, %v afterwards", lost, err)
			}
			if got := n.index(pod, "net1"); att.Members[0].Child.Ifindex != got {
				t.Errorf("recorded index %d, and the link has %d", att.Members[0].Child.Ifindex, got)
			}
			n.release(att, pod, "s1")
			if left := n.dump(pod); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// A pod that has renamed its interface still has it.
func TestRenamedLinkIsNotLost(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	att := n.bind("macvlan", macvlanConf0, pod, "net1", "s1", pci.Address{})
	h := n.handle(pod)
	defer h.Close()
	i := n.index(pod, "net1")
	if err := errors.Join(h.SetDown(i), h.Rename(i, "mine")); err != nil {
		t.Fatal(err)
	}
	if lost, err := NewMender(n.set).Lost(Call{Netns: ledger.Netns{Path: pod}}, att); lost || err != nil {
		t.Errorf("lost %v, %v", lost, err)
	}
}

// reports 2: an IPv6 address that another pod still has is usable soon after that pod ends.
func TestAddressInUseIsTakenWhenItIsFree(t *testing.T) {
	n := newTestNode(t)
	const conf = `{"cniVersion": "1.0.0", "name": "fast", "type": "macvlan", "master": "up0", "ipam": {"type": "static", "addresses": [{"address": "fd00::9/64"}]}}`
	first, second := netnstest.New(t), netnstest.New(t)
	att := n.bind("macvlan", conf, second, "net1", "s2", pci.Address{})
	// The answer may arrive during ADD, which then fails. To have it arrive later, the second
	// pod's address is taken away until the first one's holds.
	h := n.handle(second)
	defer h.Close()
	address := net.IPNet{IP: net.ParseIP("fd00::9"), Mask: net.CIDRMask(64, 128)}
	if err := h.IP.DeleteAddress(n.index(second, "net1"), address); err != nil {
		t.Fatal(err)
	}
	n.bind("macvlan", conf, first, "net1", "s1", pci.Address{})
	time.Sleep(2500 * time.Millisecond)
	if err := h.IP.AddAddress(n.index(second, "net1"), link.IPAddress{IPNet: address, Optimistic: true}); err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s2", Netns: ledger.Netns{Path: second}}
	mend := func(want string, wait time.Duration) {
		t.Helper()
		var got string
		for late := time.Now().Add(wait); time.Now().Before(late); time.Sleep(200 * time.Millisecond) {
			duplicates, unsettled, err := NewMender(n.set).MendAddresses(c, att)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case len(duplicates) > 0 && duplicates[0].Equal(net.ParseIP("fd00::9")):
				got = "duplicate"
			case unsettled:
				got = "unsettled"
			default:
				got = "usable"
			}
			if got == want {
				return
			}
		}
		t.Fatalf("the address is %s, want %s", got, want)
	}
	mend("duplicate", 10*time.Second)
	n.deleteLink(first, "net1")
	mend("usable", 20*time.Second)
}

// reports 20, a chain: the settings of the plugins after the first are made again too.
func TestLostLinkOfAChainIsMadeAgain(t *testing.T) {
	n := newTestNode(t)
	pod := netnstest.New(t)
	list, err := listOf("macvlan", macvlanConf0, `{"type": "tuning", "mtu": 1300, "mac": "02:00:00:cc:00:09"}`)
	if err != nil {
		t.Fatal(err)
	}
	c := Call{SandboxID: "s1", IfName: "net1", Network: "ns/fast", Netns: ledger.Netns{Path: pod}}
	att, err := n.set.Prepare(t.Context(), c, list)
	if err != nil {
		t.Fatal(err)
	}
	result, err := n.set.Add(t.Context(), c, &att)
	if err != nil {
		t.Fatal(err)
	}
	att.Result, _ = json.Marshal(result)
	before, recorded := n.dump(pod), *att.Members[1].Tuning
	n.deleteLink(n.host, "up0")
	n.deleteLink(n.host, "up0port")
	n.uplink()
	if err := NewMender(n.set).Remake(t.Context(), c, &att); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.dump(pod)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(recorded, *att.Members[1].Tuning); diff != "" {
		t.Errorf("the record of tuning has changed: %s", diff)
	}
}
