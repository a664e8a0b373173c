package cni

import (
	"errors"
	"testing"
)

func TestReconcile(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*node)
		release bool
	}{
		{"all alive", func(*node) {}, false},
		{"pod gone, sandbox stopping", func(n *node) { delete(n.cluster.pods, "default/p") }, false},
		{"namespace out of sight", func(n *node) { n.netns = map[string]bool{} }, false},
		{"both gone", func(n *node) { n.netns = map[string]bool{}; delete(n.cluster.pods, "default/p") }, true},
		{"namespace gone, pod made anew", func(n *node) {
			n.netns = map[string]bool{}
			p := n.cluster.pods["default/p"]
			p.UID = "other"
			n.cluster.pods["default/p"] = p
		}, true},
		{"namespace gone, pod ended", func(n *node) {
			n.netns = map[string]bool{}
			p := n.cluster.pods["default/p"]
			p.Terminal = true
			n.cluster.pods["default/p"] = p
		}, true},
		{"namespace gone, API server away", func(n *node) { n.netns = map[string]bool{}; n.cluster.down = errors.New("away") }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.pod("p", "fast", vf1)
			n.mustAdd("c1", "p")
			tt.change(n)
			if err := n.server.Reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tt.release {
				n.wantClean()
			} else if s := n.sandbox("c1"); !complete(s) || s.Releasing || n.world.vfs[vf1] != "c1" {
				t.Errorf("a live sandbox was touched: %+v", s)
			}
		})
	}
}

func TestReconcileLeavesCallsAlone(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	gate := make(chan struct{})
	n.world.hold["add"] = gate
	done := make(chan error, 1)
	go func() { _, err := n.call("ADD", "c1", "p"); done <- err }()
	for n.world.beginnings() == 0 { // the intent is in the ledger, the primary hangs
	}
	if err := n.server.Reconcile(t.Context()); err != nil {
		t.Error(err)
	}
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := n.sandbox("c1"); !complete(s) {
		t.Errorf("record: %s", describe(s))
	}
}
