package attach

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// reports 4b: a link on an interface of the pod, or the reason why it is refused. Nobody is
// asked about the interface: it is the pod's own.
func TestLinkInContainer(t *testing.T) {
	for _, tt := range []struct {
		name, conf string
		calls      string
		fails      string
	}{
		{"macvlan", `{"type": "macvlan", "linkInContainer": true, "master": "bond0", "mode": "passthru"}`, "pod: add macvlan net2 on bond0\npod: up", ""},
		{"ipvlan", `{"type": "ipvlan", "linkInContainer": true, "master": "bond0", "mode": "l3"}`, "pod: add ipvlan net2 on bond0\npod: up", ""},
		{"the default route's", `{"type": "macvlan", "linkInContainer": true}`, "pod: add macvlan net2 on eth0\npod: up", ""},
		{"a host interface", `{"type": "macvlan", "linkInContainer": true, "master": "eth1"}`, "", `the pod has no interface "eth1" (linkInContainer is on); it has eth0, bond0`},
		{"itself", `{"type": "macvlan", "linkInContainer": true, "master": "net2"}`, "", `net2 is the interface that this network makes`},
		{"loopback", `{"type": "macvlan", "linkInContainer": true, "master": "lo"}`, "", `lo is the pod's loopback interface`},
		{"an MTU above", `{"type": "macvlan", "linkInContainer": true, "master": "bond0", "mtu": 9000}`, "", `9000 is above the MTU of the pod's interface bond0, 1500`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newNode(t, igb)
			eth0 := k.addLink(podNS, link.Link{Name: "eth0", Kind: "veth", Type: "ether", MTU: 1500})
			eth0.routes = []link.Route{{Link: eth0.Index, Dst: everything}}
			k.addLink(podNS, link.Link{Name: "bond0", Kind: "bond", Type: "ether", MTU: 1500})
			s := k.set(t.TempDir())
			oracle := &custody{}
			s.Custody = oracle
			var waited []string
			order := Order{
				Turn: func(context.Context) error { waited = append(waited, "turn"); return nil },
				Last: func(context.Context) error { waited = append(waited, "last"); return nil },
			}
			list, err := listOf("", tt.conf)
			if err != nil {
				t.Fatal(err)
			}
			c := Call{SandboxID: "s1", IfName: "net2", Netns: ledger.Netns{Path: podNS}, Order: order}
			att, err := s.Prepare(t.Context(), c, list)
			if err == nil {
				att = stored(t, att)
				if held := (ledger.Sandbox{Attachments: []ledger.Attachment{att}}).Holdings(); len(held) > 0 {
					t.Errorf("it holds %+v of the host", held)
				}
				_, err = s.Add(t.Context(), c, &att)
				if diff := cmp.Diff([]string{"last"}, waited); diff != "" {
					t.Errorf("waited for: %s", diff)
				}
			}
			if len(oracle.asked) > 0 {
				t.Errorf("custody was asked to %v", oracle.asked)
			}
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Errorf("got %v, want %q", err, tt.fails)
			}
			if diff := cmp.Diff(tt.calls, strings.Join(k.calls, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// reports 4b: a group delete would take the link with the one below it, before its ipam's DEL.
func TestOnPodLinksWithAProgramAreNotDeletedAsAGroup(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	child := func(inPod bool, ipam string) ledger.Attachment {
		return ledger.Attachment{Phase: ledger.Bound, Members: []ledger.Member{{Plugin: PluginMacvlan, IPAM: ipam, Child: &ledger.ChildMember{Uplink: "x", InPod: inPod}}}}
	}
	ns := ledger.Netns{Path: podNS, Inode: 1}
	k.spaces[podNS].inode = 1
	for _, tt := range []struct {
		third ledger.Attachment
		want  int
	}{{child(true, "dhcp"), 0}, {child(true, ""), 1}, {child(false, "dhcp"), 1}} {
		k.calls = nil
		if err := s.DeleteLinks(t.Context(), []ledger.Attachment{child(false, ""), child(false, ""), tt.third}, ns); err != nil {
			t.Fatal(err)
		}
		if len(k.calls) != tt.want {
			t.Errorf("%+v: %v", tt.third.Members[0], k.calls)
		}
	}
}
