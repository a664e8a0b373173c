package sandbox

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// links are the kernel's answers about the links of running sandboxes.
type links struct {
	lost      map[string]bool // by interface
	noUplink  bool
	duplicate []net.IP
	unsettled bool
	remade    []string
	looks     int
}

func (l *links) Lost(_ attach.Call, a ledger.Attachment) (bool, error) { return l.lost[a.IfName], nil }

func (l *links) Remake(_ context.Context, _ attach.Call, a *ledger.Attachment) error {
	if l.noUplink {
		return errors.New("no uplink")
	}
	l.remade, a.Members[0].Child.Ifindex = append(l.remade, a.IfName), 77
	delete(l.lost, a.IfName)
	return nil
}

func (l *links) MendAddresses(attach.Call, ledger.Attachment) ([]net.IP, bool, error) {
	l.looks++
	return l.duplicate, l.unsettled, nil
}

// events returns the events since the last call that have one of the reasons.
func (n *node) events(reasons ...string) string {
	var found []string
	for _, e := range n.cluster.Events {
		for _, r := range reasons {
			if strings.Contains(e, r) {
				found = append(found, e)
			}
		}
	}
	n.cluster.Events = nil
	return strings.Join(found, "\n")
}

// reports 20: a lost interface is reported once, and made again as soon as that is possible.
func TestReconcileMakesLostInterfacesAgain(t *testing.T) {
	n, l := newNode(t), &links{lost: map[string]bool{}}
	n.restart(func(o *Options) { o.Links = l })
	n.pod("p", "macvlan-conf,bridge-conf")
	n.mustAdd("c1", "p")
	n.events()
	reconcile := func(step, wantErr, wantEvents string) {
		t.Helper()
		err := n.keeper.Reconcile(t.Context())
		if got := errors.Join(err); (got == nil) != (wantErr == "") || got != nil && !strings.Contains(got.Error(), wantErr) {
			t.Errorf("%s: %v, want %q", step, err, wantErr)
		}
		if diff := cmp.Diff(wantEvents, n.events("Interface")); diff != "" {
			t.Errorf("%s: %s", step, diff)
		}
	}
	reconcile("nothing is lost", "", "")
	l.lost["net1"], l.lost["net2"], l.noUplink = true, true, true
	const lost = "default/p Warning InterfaceLost: interface net1 of network default/macvlan-conf is gone from the pod; it is made again as soon as its uplink is there (was the uplink deleted or made again?)\n" +
		"default/p Warning InterfaceLost: interface net2 of network default/bridge-conf is gone from the pod; a program had made it, so delete the pod to get it back (was its uplink deleted or made again?)"
	reconcile("the uplink is away", "make the interface again: no uplink", lost)
	reconcile("still away", "make the interface again: no uplink", "")
	l.noUplink = false
	reconcile("the uplink is back", "", "default/p Normal InterfaceRestored: interface net1 of network default/macvlan-conf has been made again, with its MAC, addresses and routes")
	if s := n.sandbox("c1"); s.Attachments[1].Members[0].Child.Ifindex != 77 || strings.Join(l.remade, " ") != "net1" {
		t.Errorf("index %d, remade %q", s.Attachments[1].Members[0].Child.Ifindex, l.remade)
	}
	l.lost["net1"] = true
	n.markReleasing("c1")
	if err := n.keeper.reviewer.visit(t.Context(), "c1"); err != nil || len(l.remade) != 1 {
		t.Errorf("a sandbox that is being released was reviewed: %v, %q", err, l.remade)
	}
}

// reports 2: the addresses of a pod are looked at again after its ADD, until they hold.
func TestAddressesAreLookedAtAfterAdd(t *testing.T) {
	n, l := newNode(t), &links{lost: map[string]bool{}}
	n.world.Result = func(ifName string, r *types100.Result) {
		if ifName == "net1" {
			r.IPs[0].Address = net.IPNet{IP: net.ParseIP("fd00::9"), Mask: net.CIDRMask(64, 128)}
		}
	}
	n.restart(func(o *Options) { o.Links = l })
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p")
	n.events()
	round := func(after time.Duration, wantDue bool, wantEvents string) {
		t.Helper()
		n.now = n.now.Add(after)
		if _, due := n.keeper.addresses.round(t.Context()); due != wantDue {
			t.Errorf("due %v, want %v", due, wantDue)
		}
		if diff := cmp.Diff(wantEvents, n.events("Address")); diff != "" {
			t.Error(diff)
		}
	}
	round(time.Second, true, "")
	if l.looks != 0 {
		t.Error("looked before the kernel can have an answer")
	}
	l.duplicate = []net.IP{net.ParseIP("fd00::9")}
	round(3*time.Second, true, "default/p Warning AddressInUse: another host on the network has fd00::9 (eth0); the pod gets it when that host gives it up")
	round(10*time.Second, true, "")
	l.duplicate, l.unsettled = nil, true
	round(time.Minute, true, "")
	l.unsettled = false
	round(time.Minute, false, "default/p Normal AddressUsable: no other host on the network has the pod's IPv6 addresses any more")
}

// A pod without IPv6 costs nothing.
func TestAddressesWithoutIPv6AreLeftAlone(t *testing.T) {
	n, l := newNode(t), &links{}
	n.restart(func(o *Options) { o.Links = l })
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p")
	if _, due := n.keeper.addresses.round(t.Context()); due {
		t.Error("a look is due")
	}
}
