package sandbox

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// meta-cni A4: the path of a dead sandbox leads to another pod's namespace by now. The
// late release does not work there, and Reconcile knows that the sandbox is dead.
func TestAReusedNamespacePathIsAnotherNamespace(t *testing.T) {
	for _, by := range []string{"DEL", "reconcile"} {
		n := newNode(t)
		n.pod("p", "macvlan-conf, macvlan-conf, tuned")
		n.mustAdd("c1", "p")
		n.newNetns("/run/netns/c1")
		delete(n.cluster.Pods, "default/p")
		n.world.Log = nil
		if by == "DEL" {
			if _, err := n.call("DEL", "c1", "p"); err != nil {
				t.Fatal(err)
			}
		} else if err := n.keeper.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.wantClean()
		if strings.Contains(n.world.Trace(), "/run/netns/c1") || len(n.world.DelNetns) != 4 || strings.Join(n.world.DelNetns, "") != "" {
			t.Errorf("%s: it worked in another pod's namespace: %q\n%s", by, n.world.DelNetns, n.world.Trace())
		}
	}
}

// meta-cni A4: nothing is attached to the host's own namespace.
func TestTheHostsNamespaceIsNotAPods(t *testing.T) {
	n := newNode(t)
	n.o.Kernel.Identify = func(string) (ledger.Netns, error) { return ledger.Netns{}, attach.ErrHostNetns }
	n.keeper = New(n.o)
	n.pod("p", "macvlan-conf")
	_, err := n.serve(t.Context(), "ADD", n.request("c1", "p"))
	if KindOf(err) != Invalid || !errors.Is(err, attach.ErrHostNetns) {
		t.Errorf("got %v", err)
	}
	n.wantClean()
}

// meta-cni A4: a CHECK does not look at another pod's namespace.
func TestCheckOfAReusedNamespacePath(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p")
	n.newNetns("/run/netns/c1")
	n.world.Log = nil
	if _, err := n.call("CHECK", "c1", "p"); err == nil || KindOf(err) == Unknown || len(n.world.Log) != 0 {
		t.Errorf("%v\n%s", err, n.world.Trace())
	}
}

// The agent may not see the namespaces of the runtime; the primary network works then.
func TestANamespaceOutOfSight(t *testing.T) {
	n := newNode(t)
	n.pod("p", "")
	if _, err := n.serve(t.Context(), "ADD", n.request("c1", "p")); err != nil {
		t.Fatal(err)
	}
	if got := n.sandbox("c1").Netns; got != (ledger.Netns{Path: "/run/netns/c1"}) {
		t.Errorf("recorded: %+v", got)
	}
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	n.wantClean()
}

// meta-cni B1: a DEL that comes before the cluster's network has its conf is remembered.
func TestDelOfAnUnknownSandboxWithoutAPrimary(t *testing.T) {
	n := newNode(t)
	conf := filepath.Join(n.dir, "net.d", "10-bridge.conflist")
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	for _, queued := range []bool{false, true} {
		r := n.request("c9", "p")
		r.Queued = queued
		if _, err := n.serve(t.Context(), "DEL", r); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.sandbox("c9"); !s.Releasing || len(s.Attachments) != 0 {
		t.Errorf("record: %s", sandboxtest.Describe(s))
	}
	n.writeConf("10-bridge.conflist", primaryConf)
	n.now = n.now.Add(maxRetry)
	n.retryDue(t.Context())
	n.wantClean()
	if !strings.Contains(n.world.Trace(), "exec DEL c9 eth0 bridge") {
		t.Errorf("the primary's DEL was not run:\n%s", n.world.Trace())
	}
}

// meta-cni B2: no sandbox survives a boot, whether its pod does or not.
func TestRecordsOfAnEarlierBootAreReleased(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	for _, boot := range []string{"one", "two"} {
		if _, err := n.ledger.Boot(boot); err != nil {
			t.Fatal(err)
		}
		if boot == "one" {
			n.mustAdd("c1", "p")
		}
	}
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.wantClean()
}

// meta-cni B2: the pod's next sandbox does not find the addresses of its last one taken,
// also if no device is in question.
func TestAddReleasesThePodsEarlierSandboxes(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.pod("q", "macvlan-conf")
	n.mustAdd("c1", "p")
	n.mustAdd("other", "q")
	n.mustAdd("c2", "p")
	if left := n.world.Left(); strings.Contains(left, "c1 ") || !strings.Contains(left, "other ") {
		t.Errorf("left:\n%s", left)
	}
}

// meta-cni B2: likewise in Reconcile, for a sandbox whose namespace is gone.
func TestReconcileReleasesAFollowedSandbox(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p")
	later := n.sandbox("c1")
	later.ID, later.Created, later.Netns = "c2", later.Created.Add(time.Minute), ledger.Netns{Path: "/run/netns/c2"}
	n.newNetns("/run/netns/c2")
	if err := n.ledger.PutSandbox(later); err != nil {
		t.Fatal(err)
	}
	n.noNetns("/run/netns/c1")
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := n.ledger.Sandbox("c1"); ok || err != nil {
		t.Errorf("c1 is still on record: %v", err)
	}
	n.sandbox("c2")
}

// meta-cni C5: the VF's last holder is just being deleted.
func TestAddWaitsForAHolderThatIsBeingDeleted(t *testing.T) {
	n := newNode(t)
	n.pod("old", "fast", vf1)
	n.pod("new", "fast", vf1)
	n.mustAdd("c1", "old")
	gate := make(chan struct{})
	n.world.Hold["release"] = gate
	deleted, added := make(chan error, 1), make(chan error, 1)
	go func() { _, err := n.serve(t.Context(), "DEL", n.request("c1", "old")); deleted <- err }()
	for !strings.Contains(n.world.Trace(), "put c1 releasing") {
		time.Sleep(time.Millisecond)
	}
	n.newNetns("/run/netns/c2")
	go func() { _, err := n.serve(t.Context(), "ADD", n.request("c2", "new")); added <- err }()
	select {
	case err := <-added:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(gate)
	if err := errors.Join(<-deleted, <-added); err != nil {
		t.Fatal(err)
	}
	if n.world.VFs[vf1] != "c2" {
		t.Errorf("%s belongs to %q", vf1, n.world.VFs[vf1])
	}
}

// meta-cni E11: the DEL that follows a failed plan has nothing to undo.
func TestDelAfterAFailedPlanRunsNothing(t *testing.T) {
	n := newNode(t)
	n.pod("p", "nosuch")
	if _, err := n.call("ADD", "c1", "p"); err == nil {
		t.Fatal("no error")
	}
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	if n.world.Steps != 0 {
		t.Errorf("steps:\n%s", n.world.Trace())
	}
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p") // and it is no obstacle to a later ADD of the same sandbox
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	n.wantClean()
}

// meta-cni C1: a list may decline CHECK, whoever makes it.
func TestDisableCheck(t *testing.T) {
	n := newNode(t)
	n.nad("unchecked", "", `{"cniVersion":"1.0.0","disableCheck":true,"plugins":[{"type":"macvlan","master":"eth0"}]}`)
	n.pod("p", "unchecked")
	n.mustAdd("c1", "p")
	n.world.Log = nil
	if _, err := n.call("CHECK", "c1", "p"); err != nil || strings.Contains(n.world.Trace(), "check c1 net1") {
		t.Errorf("%v\n%s", err, n.world.Trace())
	}
}

// meta-cni C1: the default routes that another network's default-route has replaced are
// not looked for.
func TestReplacedDefaultRoutesAreOffTheRecord(t *testing.T) {
	_, v4, _ := net.ParseCIDR("0.0.0.0/0")
	_, v6, _ := net.ParseCIDR("::/0")
	_, other, _ := net.ParseCIDR("10.20.0.0/16")
	for _, tt := range []struct {
		name     string
		gateways string
		moved    bool
		want     string
	}{
		{"another network, IPv4", "10.0.0.1", false, "10.20.0.0/16 ::/0"},
		{"another network, both", "10.0.0.1 fd00::1", false, "10.20.0.0/16"},
		{"the network itself", "10.1.0.1", true, "0.0.0.0/0 10.20.0.0/16 ::/0"},
	} {
		r := &types100.Result{Routes: []*types.Route{{Dst: *v4, GW: net.ParseIP("10.1.0.1")}, {Dst: *other}, {Dst: *v6, GW: net.ParseIP("fd01::1")}}}
		withoutDefaults(r, addrs(tt.gateways), tt.moved)
		var got []string
		for _, route := range r.Routes {
			got = append(got, route.Dst.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
	n := newNode(t)
	n.pod("p", `[{"name":"macvlan-conf","default-route":["192.0.2.1"]}]`)
	n.world.Result = func(ifName string, r *types100.Result) {
		r.Routes = []*types.Route{{Dst: *v4, GW: net.ParseIP("10.1.2.1")}}
	}
	n.mustAdd("c1", "p")
	for _, a := range n.sandbox("c1").Attachments {
		// The network that they moved to has the new one, for CHECK and network-status.
		want := 0
		if a.IfName == "net1" {
			want = 1
		}
		if strings.Count(string(a.Result), "0.0.0.0/0") != want || strings.Count(string(a.Result), `"gw":"192.0.2.1"`) != want {
			t.Errorf("%s: %s", a.IfName, a.Result)
		}
	}
}

// reports 3: a bond's program starts when the VFs before it are complete, not when they
// are there.
func TestAProgramStartsWhenTheNetworksBeforeItAreComplete(t *testing.T) {
	n := newNode(t)
	n.nad("bond", "", `{"cniVersion":"1.0.0","type":"bond","links":[{"name":"net1"},{"name":"net2"}]}`)
	n.pod("p", "fast, macvlan-conf, bond", vf1)
	n.world.Configure = func(ifName string) {
		time.Sleep(20 * time.Millisecond) // up, sysctls, addresses
		if err := n.world.Step("configured", "configured "+ifName); err != nil {
			t.Error(err)
		}
	}
	n.mustAdd("c1", "p")
	trace := n.world.Trace()
	bond := strings.Index(trace, "exec ADD c1 net3 bond")
	for _, before := range []string{"configured net1", "configured net2"} {
		if at := strings.Index(trace, before); at < 0 || at > bond {
			t.Errorf("%q is not before the bond:\n%s", before, trace)
		}
	}
}

// meta-cni B5, reports 5: the group delete has only networks whose release runs no
// program, and those that are not released yet.
func TestGroupDeleteHasOnlyBuiltInNetworks(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf, tuned, macvlan-conf")
	n.mustAdd("c1", "p")
	n.world.Log = nil
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(n.world.Trace(), "links 2 /run/netns/c1") {
		t.Errorf("got:\n%s", n.world.Trace())
	}
	n.pod("q", "tuned, tuned, macvlan-conf")
	n.mustAdd("c2", "q")
	n.world.Log = nil
	if _, err := n.call("DEL", "c2", "q"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(n.world.Trace(), "links") {
		t.Errorf("a chain's first link was deleted before the chain's DELs:\n%s", n.world.Trace())
	}
}

// meta-cni E6: an ADD waits for the disk twice; the status that is written is taken off
// the record without a third.
func TestAddWaitsForTwoCommits(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf, fast", vf1)
	n.mustAdd("c1", "p")
	if puts := strings.Count(n.world.Trace(), "put "); puts != 2 {
		t.Errorf("%d commits:\n%s", puts, n.world.Trace())
	}
	if s := n.sandbox("c1"); len(s.Status) != 0 {
		t.Error("the status is still owed")
	}
}

// meta-cni E8: of the runtime's offers, only members' configs are on record.
func TestTheRecordHasNoCapabilities(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	r := n.request("c1", "p")
	n.newNetns(r.Netns)
	r.Capabilities["io.kubernetes.cri.pod-annotations"] = map[string]any{"secret": "of the pod"}
	if _, err := n.serve(context.Background(), "ADD", r); err != nil {
		t.Fatal(err)
	}
	for _, a := range n.sandbox("c1").Attachments {
		for _, m := range a.Members {
			if strings.Contains(string(m.Config), "secret") {
				t.Errorf("%s: %s", m.Type, m.Config)
			}
		}
	}
}

// reports 4b: the kernel leaves a link on a VF that moves out of the pod. So links on
// interfaces of the pod are released before those, the last first.
func TestLinksOnPodInterfacesAreReleasedFirst(t *testing.T) {
	n := newNode(t)
	n.nad("on-net1", "", `{"cniVersion":"1.0.0","type":"macvlan","master":"net1","linkInContainer":true}`)
	n.nad("on-net2", "", `{"cniVersion":"1.0.0","type":"macvlan","master":"net2","linkInContainer":true}`)
	n.pod("p", "fast, on-net1, on-net2, macvlan-conf", vf1)
	n.mustAdd("c1", "p")
	n.world.Log = nil
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	trace := n.world.Trace()
	at := func(ifName string) int { return strings.Index(trace, "release c1 "+ifName) }
	if at("net3") < 0 || at("net3") > at("net2") || at("net2") > at("net1") || at("net2") > at("net4") {
		t.Errorf("got:\n%s", trace)
	}
	n.wantClean()
}
