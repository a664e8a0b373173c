package custody

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/ledger"
)

// run starts an Oracle on a node, in a bubble whose time passes by itself, and calls
// body once it has read everything.
func run(t *testing.T, n *node, body func(t *testing.T, o *Oracle)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n.tables = make(chan map[string]HostLink) // of this bubble
		n.changes = make(chan ledger.Change)
		n.snapshots = make(chan *snapshotType, 1)
		o := New(n.sources())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		n.tables <- map[string]HostLink{}
		synctest.Wait()
		body(t, o)
		cancel()
		close(n.tables)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func wantUses(t *testing.T, v *View, when, want string, fn pciAddress) {
	t.Helper()
	var kinds []string
	for _, u := range v.Uses(fn) {
		kinds = append(kinds, string(u.Kind))
	}
	if got := strings.Join(kinds, ", "); got != want {
		t.Errorf("%s: uses of %s are %q, want %q", when, fn, got, want)
	}
}

// devices B9, B10: one change costs one record, and an idle node nothing but Resync.
func TestNothingIsReadAgain(t *testing.T) {
	n := newNode()
	for _, id := range []string{"1", "2", "3"} {
		n.sandboxes[id] = holds(id, podA, fast, vf0)
	}
	n.grants = []Grant{{Resource: fast, DeviceID: vf0.String(), Pod: podA}}
	n.allocations[vf0] = gave(fast, vf0)
	run(t, n, func(t *testing.T, o *Oracle) {
		views, cancel := o.Subscribe()
		defer cancel()
		<-views
		s := n.sandboxes["2"]
		s.Attachments = append(s.Attachments, carries("2", podA, "ens1f0").Attachments...)
		n.set(func() { n.sandboxes["2"] = s })
		o.SandboxChanged("2")
		wantUses(t, <-views, "a link was added", "children", pf)
		s.Status = []byte(`[]`)
		n.set(func() { n.sandboxes["2"] = s })
		o.SandboxChanged("2")
		if len(views) > 0 {
			t.Error("a View was published though no use has changed")
		}
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		want := map[string]int{"all sandboxes": 2, "sandbox 2": 2, "kubelet": 13}
		if diff := cmp.Diff(want, n.reads); diff != "" {
			t.Errorf("reads in an hour (-want +got):\n%s", diff)
		}
	})
}

// lab F: the kubelet does not announce the end of a grant from before the ledger was lost.
func TestGrantsWithoutARecordEndSoon(t *testing.T) {
	n := newNode()
	n.grants = []Grant{{Resource: fast, DeviceID: vf0.String(), Pod: podA}}
	run(t, n, func(t *testing.T, o *Oracle) {
		wantUses(t, o.View(), "granted before the agent began", "allocation", vf0)
		n.set(func() { n.grants = nil })
		time.Sleep(unrecordedWait + time.Second)
		synctest.Wait()
		wantUses(t, o.View(), "the pod is gone", "", vf0)
		n.set(func() { n.grants = []Grant{{Resource: fast, DeviceID: vf1.String(), Pod: podA}} })
		signal(o.grants.ask)
		synctest.Wait()
		wantUses(t, o.View(), "granted by another plugin", "allocation", vf1)
		n.set(func() { n.grants = nil })
		time.Sleep(unrecordedWait + time.Second)
		synctest.Wait()
		wantUses(t, o.View(), "its pod is gone too", "", vf1)
		n.set(func() { clear(n.reads) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if asked := n.reads["kubelet"]; asked > 13 {
			t.Errorf("the kubelet is asked %d times in an hour without such a grant", asked)
		}
	})
}

// devices A8: a pod that runs on although the kubelet no longer counts its VF as the pod's: the
// kubelet may give the VF to another pod, which could never start.
func TestAHolderWithoutAGrant(t *testing.T) {
	n := newNode()
	n.sandboxes["a"] = holds("a", podA, fast, vf0)
	n.allocations[vf0] = gave(fast, vf0)
	granted := []Grant{{Resource: fast, DeviceID: vf0.String(), Pod: podA}}
	n.grants = granted
	run(t, n, func(t *testing.T, o *Oracle) {
		want := func(when string, refused bool, held int) {
			t.Helper()
			u, got := o.View().ToAllocate(vf0, fast)
			if got != refused || len(o.View().HeldWithoutGrant()) != held {
				t.Errorf("%s: refused %v (%s), %d held without a grant", when, got, u.Reason(), len(o.View().HeldWithoutGrant()))
			}
		}
		later := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		later(10 * time.Minute)
		want("granted", false, 0)
		n.set(func() { n.grants = nil })
		later(5*time.Minute + time.Second)
		want("the kubelet may have restarted", false, 0)
		later(ungrantedFor + unrecordedWait)
		want("not granted for a while", true, 1)
		n.set(func() { n.grants = granted })
		later(5*time.Minute + time.Second)
		want("granted again", false, 0)
		n.set(func() { n.grants = nil })
		later(10 * time.Minute)
		want("not granted again", true, 1)
		n.set(func() { delete(n.sandboxes, "a") })
		o.SandboxChanged("a")
		want("released", false, 0)
		n.set(func() { clear(n.reads) })
		later(time.Hour)
		if asked := n.reads["kubelet"]; asked > 14 {
			t.Errorf("the kubelet is asked %d times in an hour", asked)
		}
	})
}

// devices A4: a VF that comes back from a pod is not taken for a foreign namespace's
// before the devices have been read; one that does not come back is.
func TestNetdevsHaveAMomentToReturn(t *testing.T) {
	n := newNode()
	n.snapshot = snapshot(away(0), away(1), away(2))
	n.sandboxes["1"], n.sandboxes["2"] = holds("1", podA, fast, vf1), holds("2", podA, fast, vf2)
	run(t, n, func(t *testing.T, o *Oracle) {
		wantUses(t, o.View(), "away before the agent began", "namespace", vf0)
		n.set(func() { clear(n.sandboxes) })
		o.SandboxChanged("1", "2")
		wantUses(t, o.View(), "released", "", vf1)
		time.Sleep(time.Second)
		n.snapshots <- snapshot(away(0), away(2))
		time.Sleep(500 * time.Millisecond)
		wantUses(t, o.View(), "not yet back", "", vf2)
		time.Sleep(time.Second)
		wantUses(t, o.View(), "back", "", vf1)
		wantUses(t, o.View(), "not back", "namespace", vf2)
		n.snapshots <- snapshot(away(0), away(2), away(3))
		synctest.Wait()
		wantUses(t, o.View(), "just taken away", "", vf3)
		time.Sleep(3 * time.Second)
		wantUses(t, o.View(), "taken away", "namespace", vf3)
	})
}

// devices A4, reports 16: VFIO says when it is open only if it is asked, and never
// that it was closed.
func TestVFIOIsWatchedWhileItIsOpen(t *testing.T) {
	n := newNode()
	n.open[vf6] = true
	run(t, n, func(t *testing.T, o *Oracle) {
		wantUses(t, o.View(), "open at the start", "vfio", vf6)
		n.set(func() { n.probed = nil })
		time.Sleep(time.Hour)
		synctest.Wait()
		if looks := len(n.probed); looks < 40 || looks > 110 { // one a minute, and each VF at Resync
			t.Errorf("VFIO was asked %d times in an hour", looks)
		}
		n.set(func() { n.open[vf6] = false })
		time.Sleep(time.Minute)
		wantUses(t, o.View(), "closed", "", vf6)
	})
}

// To ask VFIO is to open the group: a pod that is about to open it must not find it busy.
func TestVFIOIsNotAskedAboutAHolder(t *testing.T) {
	n := newNode()
	n.sandboxes["1"] = holds("1", podA, fast, vf4) // vf5 is in its group
	n.allocations[vf6] = gave(fast, vf6)
	run(t, n, func(t *testing.T, o *Oracle) {
		if _, err := o.Confirm(t.Context(), vf4, vf5); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(n.probed) > 0 {
			t.Errorf("VFIO was asked about %v", n.probed)
		}
	})
}

// devices A4, A2: Confirm sees a change before its event, and then everybody does.
func TestConfirm(t *testing.T) {
	for _, tt := range []struct {
		name, want, free string
		fn               pciAddress
		change, back     func(*node)
	}{
		{"security S4: a VM opens it", "vfio", "", vf6, func(n *node) { n.open[vf6] = true }, func(n *node) { n.open[vf6] = false }},
		{"an allocated one is open", "allocation, vfio", "allocation", vf6,
			func(n *node) { n.allocations[vf6], n.open[vf6] = gave(fast, vf6), true }, func(n *node) { n.open[vf6] = false }},
		{"its netdev is away", "namespace", "", vf0, func(n *node) { n.netdevs[vf0] = nil }, func(n *node) { delete(n.netdevs, vf0) }},
		{"a foreign namespace gives it back", "namespace", "", vf3,
			func(n *node) { n.snapshots <- snapshot(away(3)); n.netdevs[vf3] = nil }, func(n *node) { n.snapshots <- snapshot() }},
		{"the netdev of an allocated one is away", "allocation, namespace", "allocation", vf0,
			func(n *node) { n.allocations[vf0], n.netdevs[vf0] = gave(fast, vf0), nil }, func(n *node) { delete(n.netdevs, vf0) }},
		{"meta-cni A2: the host puts a VLAN on it", "host", "", vf0,
			func(n *node) { n.host["ens1f0v0"] = HostLink{OnTop: []string{"mgmt.5"}} }, func(n *node) { n.tables <- nil }},
		{"devices A7: a member gets a driver of the kernel", "group driver", "", vf6,
			func(n *node) {
				n.members[13] = []groupMember{{Address: vf6, Driver: "vfio-pci"}, {Address: usb, Driver: "xhci_hcd"}}
			},
			func(n *node) { n.members = groups() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode()
			run(t, n, func(t *testing.T, o *Oracle) {
				n.set(func() { tt.change(n) })
				o.AllocationsChanged(vf0, vf6)
				wantUses(t, o.View(), "before", tt.free, tt.fn)
				v, err := o.Confirm(t.Context(), tt.fn)
				if err != nil {
					t.Fatal(err)
				}
				wantUses(t, v, "confirmed", tt.want, tt.fn)
				wantUses(t, o.View(), "published", tt.want, tt.fn)
				time.Sleep(time.Minute)
				wantUses(t, o.View(), "as long as it lasts", tt.want, tt.fn)
				n.set(func() { tt.back(n) })
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				wantUses(t, o.View(), "over", tt.free, tt.fn)
			})
		})
	}
}

// devices A7: to confirm a member that the kernel drives does not make the group forgotten.
func TestConfirmOfAGroupsOtherMember(t *testing.T) {
	n := newNode()
	n.snapshot, n.members = snapshot(kernel(4)), kernelMember()
	run(t, n, func(t *testing.T, o *Oracle) {
		for range 2 {
			wantUses(t, o.View(), "a member has a driver of the kernel", "group driver", vf5)
			if _, err := o.Confirm(t.Context(), vf4); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A netdev that was away for less time than the devices gather events has no news.
func TestAMissedNetdevIsLookedForAgain(t *testing.T) {
	n := newNode()
	n.netdevs[vf0] = nil
	run(t, n, func(t *testing.T, o *Oracle) {
		if _, err := o.Confirm(t.Context(), vf0); err != nil {
			t.Fatal(err)
		}
		n.set(func() { delete(n.netdevs, vf0) })
		wantUses(t, o.View(), "missed", "namespace", vf0)
		time.Sleep(3 * time.Second)
		wantUses(t, o.View(), "there", "", vf0)
	})
}

// The kubelet does not say when a container of another resource has ended.
func TestConfirmAsksTheKubeletAgain(t *testing.T) {
	n := newNode()
	n.grants = []Grant{{"intel.com/nic", vf0.String(), podB}}
	run(t, n, func(t *testing.T, o *Oracle) {
		wantUses(t, o.View(), "granted", "allocation", vf0)
		n.set(func() { n.grants = nil })
		v, err := o.Confirm(t.Context(), vf0, vf1)
		if err != nil {
			t.Fatal(err)
		}
		wantUses(t, v, "ended", "", vf0)
		asked := n.reads["kubelet"]
		if _, err := o.Confirm(t.Context(), vf0); err != nil || n.reads["kubelet"] != asked {
			t.Errorf("the kubelet was asked about a free function: %v", err)
		}
	})
}

// The ledger's news reach the View by themselves.
func TestTheLedgersNews(t *testing.T) {
	n := newNode()
	run(t, n, func(t *testing.T, o *Oracle) {
		n.set(func() { n.sandboxes["1"], n.allocations[vf1] = holds("1", podA, fast, vf0), gave(fast, vf1) })
		n.changes <- ledger.Change{SandboxID: "1"}
		n.changes <- ledger.Change{Allocations: true}
		synctest.Wait()
		wantUses(t, o.View(), "a sandbox", "sandbox", vf0)
		wantUses(t, o.View(), "an allocation", "allocation", vf1)
	})
}

// A View that does not know all sources calls nothing free.
func TestUnreadSources(t *testing.T) {
	n := newNode()
	n.ledgerErr = errDisk
	run(t, n, func(t *testing.T, o *Oracle) {
		want := "0000:3b:10.0 unknown: nobody can say who uses it: read the ledger: input/output error; trying again\n"
		if diff := cmp.Diff(want, text(o.View(), vf0)); diff != "" {
			t.Errorf("uses (-want +got):\n%s", diff)
		}
		n.set(func() { n.ledgerErr = nil })
		time.Sleep(time.Minute)
		wantUses(t, o.View(), "readable again", "", vf0)
	})
	synctest.Test(t, func(t *testing.T) {
		o := New(newNode().sources())
		wantUses(t, o.View(), "before Run", "unknown", vf0) // the host's links
		v, err := o.Confirm(t.Context(), vf0)
		if err != nil {
			t.Fatal(err)
		}
		wantUses(t, v, "read for itself", "", vf0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if o.WaitRead(ctx) {
			t.Error("WaitRead says that everything was read")
		}
	})
}

// S21: the pod's author reads who has it in the log only.
func TestErrorsOfAttach(t *testing.T) {
	n := newNode()
	n.sandboxes["1"] = holds("1", podA, fast, vf0)
	n.sandboxes["2"] = holds("2", podB, fast, vf1)
	o := New(Sources{Ledger: n, Devices: nodeDevices{n}, Functions: n})
	o.SetPooled(map[pciAddress]string{vf2: fast})
	for _, tt := range []struct {
		err  error
		want string
	}{
		{o.ToAttach(vf0, "2", podB, true), "0000:3b:10.0: another pod has it: use another device, or wait for the end of that pod"},
		{o.ToAttach(vf1, "2", podB, true), ""},
		{o.ToCarry("ens1f0v2", "2"), "netdev ens1f0v2: it is advertised as fairlead.dev/fast, so the kubelet may give it to a pod at any time: use the PF, or a NIC that is in no pool"},
		{o.ToCarry("ens1f0", "2"), ""},
	} {
		got := ""
		if tt.err != nil {
			got = tt.err.Error()
		}
		if inUse := new(*InUseError); got != tt.want || got != "" && !errors.As(tt.err, inUse) {
			t.Errorf("got %q (%T), want %q", got, tt.err, tt.want)
		}
	}
	if err := o.ToAttach(usb, "2", ledger.PodRef{}, false); err == nil {
		t.Error("a function that is gone was given away")
	}
}
