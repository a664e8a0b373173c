package sandbox

import (
	"errors"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

func TestReconcile(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*node)
		release bool
	}{
		{"all alive", func(*node) {}, false},
		{"pod gone, sandbox stopping", func(n *node) { delete(n.cluster.Pods, "default/p") }, false},
		{"namespace out of sight", func(n *node) { n.netns = map[string]uint64{} }, false},
		{"both gone", func(n *node) { n.netns = map[string]uint64{}; delete(n.cluster.Pods, "default/p") }, true},
		{"namespace gone, pod made anew", func(n *node) {
			n.netns = map[string]uint64{}
			p := n.cluster.Pods["default/p"]
			p.UID = "other"
			n.cluster.Pods["default/p"] = p
		}, true},
		{"namespace gone, pod ended", func(n *node) {
			n.netns = map[string]uint64{}
			p := n.cluster.Pods["default/p"]
			p.Terminal = true
			n.cluster.Pods["default/p"] = p
		}, true},
		{"namespace gone, API server away", func(n *node) { n.netns = map[string]uint64{}; n.cluster.Down = errors.New("away") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.pod("p", "fast", vf1)
			n.mustAdd("c1", "p")
			tt.change(n)
			if err := n.keeper.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tt.release {
				n.wantClean()
			} else if s := n.sandbox("c1"); !complete(s) || s.Releasing || n.world.VFs[vf1] != "c1" {
				t.Errorf("a live sandbox was touched: %+v", s)
			}
		})
	}
}

// A sandbox that an ADD has made again, between the look at its record and the release,
// is another one.
func TestReconcileLeavesASandboxThatWasMadeAgain(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.mustAdd("c1", "p")
	n.markReleasing("c1")
	found, old := n.ledger.Entries()[0], n.sandbox("c1")
	n.now = n.now.Add(time.Second)
	n.mustAdd("c1", "p") // releases the old one first
	r := n.keeper.reconciler
	if err := r.releaseDead(t.Context(), found, "its release was interrupted", r.programs()); err != nil {
		t.Error(err)
	}
	if err := r.releaseQueued(t.Context(), old, r.programs()); err != nil {
		t.Error(err)
	}
	if s := n.sandbox("c1"); !complete(s) || s.Releasing || n.world.VFs[vf1] != "c1" {
		t.Errorf("a live sandbox was touched: %s", sandboxtest.Describe(s))
	}
}

func TestReconcileLeavesCallsAlone(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	gate := make(chan struct{})
	n.world.Hold["add"] = gate
	done := make(chan error, 1)
	go func() { _, err := n.call("ADD", "c1", "p"); done <- err }()
	for n.world.Beginnings() == 0 { // the intent is in the ledger, the primary hangs
	}
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := n.sandbox("c1"); !complete(s) {
		t.Errorf("record: %s", sandboxtest.Describe(s))
	}
}
