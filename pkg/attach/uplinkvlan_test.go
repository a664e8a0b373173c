package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// usersIn counts as the ledger does: attachments that are being released do not count.
func usersIn(records func() []ledger.Sandbox) func(name, sandbox, ifName string) (int, error) {
	return func(name, sandbox, ifName string) (int, error) {
		users := 0
		for _, s := range records() {
			for _, a := range s.Attachments {
				own := s.ID == sandbox && a.IfName == ifName
				if c := a.Members[0].Child; !own && !s.Releasing && a.Phase != ledger.Released && c != nil && c.VLANLink == name {
					users++
				}
			}
		}
		return users, nil
	}
}

// The VLAN link goes with the last pod that uses it, also when a pod's own
// release comes again, and never while a pod that is being attached relies on it.
func TestTheLastUserRemovesTheVLANLink(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	var records []ledger.Sandbox
	s.VLANLinkUsers = usersIn(func() []ledger.Sandbox { return records })
	a := attacherOf(t, s, "sriov")
	before := k.state()
	for i := range 2 {
		r := request(`{"name": "fast", "type": "sriov", "fallback": ["macvlan"], "vlan": 100}`, pci.Address{})
		r.Uplinks, r.IfName = []string{"eth1"}, fmt.Sprintf("net%d", i+1)
		att := prepared(t, s, "sriov", r)
		records = append(records, ledger.Sandbox{ID: fmt.Sprintf("s%d", i+1), Attachments: []ledger.Attachment{att}})
	}
	for i := range records {
		if _, err := a.Bind(context.Background(), Env{SandboxID: records[i].ID}, &records[i].Attachments[0], podNS); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff("host: add vlan eth1.100 on eth1\nhost: up\nhost: add macvlan net1 on eth1.100\npod: up\nhost: add macvlan net2 on eth1.100\npod: up", strings.Join(k.calls, "\n")); diff != "" {
		t.Error(diff)
	}
	if got := k.spaces[""].sysctls["ipv6/conf/eth1.100/disable_ipv6"]; got != "1" {
		t.Error("the host has IPv6 on the tenants' VLAN")
	}
	if host := k.spaces[""].sysctls; host["ipv4/conf/eth1.100/rp_filter"] != "1" || host["ipv4/conf/eth1.100/arp_ignore"] != "8" {
		t.Error("S17: the host routes for the tenants' VLAN")
	}
	release := func(i int) {
		t.Helper()
		if err := a.Release(context.Background(), Env{SandboxID: records[i].ID}, records[i].Attachments[0], podNS); err != nil {
			t.Fatal(err)
		}
	}
	release(0)
	if k.spaces[""].links["eth1.100"] == nil {
		t.Fatal("the VLAN link went with the first of two users")
	}
	release(0) // the retry of a release that had succeeded, with the record still there
	records[0].Attachments[0].Phase = ledger.Released
	release(1)
	release(1)
	if diff := cmp.Diff(before, k.state()); diff != "" {
		t.Error(diff)
	}
}

// The server marks a sandbox, releases all in it side by side, and writes the
// record again only then: two that end at once must not leave the link to each other.
func TestUsersThatGoTogetherRemoveTheVLANLink(t *testing.T) {
	for name, of := range map[string]func(i int) string{
		"one sandbox":   func(int) string { return "s1" },
		"two sandboxes": func(i int) string { return fmt.Sprintf("s%d", i+1) },
	} {
		t.Run(name, func(t *testing.T) {
			k := newNode(t, igb)
			s := k.set(t.TempDir())
			records := map[string]ledger.Sandbox{}
			s.VLANLinkUsers = usersIn(func() []ledger.Sandbox { return slices.Collect(maps.Values(records)) })
			a := attacherOf(t, s, "sriov")
			before := k.state()
			var atts []ledger.Attachment
			for i := range 3 { // the third goes first
				r := request(`{"name": "fast", "type": "sriov", "fallback": ["macvlan"], "vlan": 100}`, pci.Address{})
				r.Uplinks, r.IfName = []string{"eth1"}, fmt.Sprintf("net%d", i+1)
				id := of(i)
				if i == 2 {
					id = "s3"
				}
				att := prepared(t, s, "sriov", r)
				if _, err := a.Bind(context.Background(), Env{SandboxID: id}, &att, podNS); err != nil {
					t.Fatal(err)
				}
				atts = append(atts, att)
				records[id] = ledger.Sandbox{ID: id, Attachments: append(records[id].Attachments, att)}
			}
			release := func(i int, id string) {
				t.Helper()
				r := records[id]
				r.Releasing = true
				records[id] = r
				if err := a.Release(context.Background(), Env{SandboxID: id}, atts[i], podNS); err != nil {
					t.Fatal(err)
				}
			}
			release(2, "s3")
			if k.spaces[""].links["eth1.100"] == nil {
				t.Fatal("the VLAN link went while two pods use it")
			}
			for i := range 2 {
				release(i, of(i))
			}
			if diff := cmp.Diff(before, k.state()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAVLANLinkIsKeptWhereNobodyCanTellWhoUsesIt(t *testing.T) {
	k := newNode(t, igb)
	s := k.set(t.TempDir())
	s.VLANLinkUsers = func(string, string, string) (int, error) { return 0, errInjected }
	r := request(`{"name": "fast", "type": "sriov", "fallback": ["macvlan"], "vlan": 100}`, pci.Address{})
	r.Uplinks = []string{"eth1"}
	att := prepared(t, s, "sriov", r)
	a := attacherOf(t, s, "sriov")
	if _, err := a.Bind(context.Background(), env, &att, podNS); err != nil {
		t.Fatal(err)
	}
	if err := a.Release(context.Background(), env, att, podNS); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
	if k.spaces[""].links["eth1.100"] == nil {
		t.Error("the VLAN link was removed")
	}
}
