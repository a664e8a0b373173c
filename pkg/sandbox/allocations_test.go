package sandbox

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// Allocations of pods that never got as far as an attachment, or use their device
// without one.
func TestAllocationsArePruned(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.allocate(t, vf1)
	n.allocate(t, vf2)
	for _, look := range []struct {
		name      string
		after     time.Duration
		do        func()
		left      int
		reconcile bool // the kubelet has confirmed the device: only Reconcile asks again
	}{
		{"not listed yet", 0, func() {}, 2, false},
		{"missing for a while", allocationGrace - time.Second, func() {}, 2, false},
		{"allocated anew: the while begins anew", time.Second, func() { n.allocate(t, vf2) }, 2, false},
		{"missing for a while again", allocationGrace - time.Second, func() {}, 2, false},
		{"missing for the grace", time.Second, func() {}, 1, false},
		{"the kubelet lists the other for ever", 24 * time.Hour, func() {}, 1, false},
		{"and lists it no more", time.Second, func() { delete(n.kubelet.ByPod, "default/p") }, 1, true},
		{"gone for the grace", allocationGrace, func() {}, 0, true},
	} {
		n.now = n.now.Add(look.after)
		look.do()
		if look.reconcile {
			if err := n.keeper.allocations.prune(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			n.keeper.allocations.look(t.Context())
		}
		left, err := n.ledger.Allocations()
		if err != nil || len(left) != look.left {
			t.Fatalf("%s: %d allocations are left, %v; want %d", look.name, len(left), err, look.left)
		}
	}
}

// An allocation ends with its pod, not with the grace: the pool is full again, and
// a profile may change the VF.
func TestAllocationEndsWhenDeviceIsHandedBack(t *testing.T) {
	steps := []struct {
		name string
		do   func(t *testing.T, n *node)
		left int
	}{
		{"attached", func(t *testing.T, n *node) {
			n.pod("p", "fast", vf1)
			n.mustAdd("c1", "p")
		}, 1},
		{"released, and the kubelet still lists the pod", func(t *testing.T, n *node) {
			if _, err := n.call("DEL", "c1", "p"); err != nil {
				t.Fatal(err)
			}
		}, 1},
		{"allocated anew before the kubelet lists it", func(t *testing.T, n *node) {
			delete(n.kubelet.ByPod, "default/p")
			n.now = n.now.Add(time.Second)
			n.allocate(t, vf1)
		}, 1},
		{"attached and released by the next pod, which the kubelet lists no more", func(t *testing.T, n *node) {
			n.pod("q", "fast", vf1)
			n.mustAdd("c2", "q")
			n.now = n.now.Add(time.Second)
			if _, err := n.call("DEL", "c2", "q"); err != nil {
				t.Fatal(err)
			}
			delete(n.kubelet.ByPod, "default/q")
		}, 0},
	}
	n := newNode(t)
	n.allocate(t, vf1)
	for _, step := range steps {
		n.now = n.now.Add(time.Second)
		step.do(t, n)
		n.keeper.allocations.look(t.Context())
		left, err := n.ledger.Allocations()
		if err != nil || len(left) != step.left {
			t.Fatalf("%s: %d allocations are left, %v; want %d", step.name, len(left), err, step.left)
		}
	}
	if !n.keeper.allocations.quiet() {
		t.Error("nothing is waited for any more, and yet remembered")
	}
}

func (n *node) allocate(t *testing.T, device string) {
	t.Helper()
	if err := n.ledger.PutAllocations([]ledger.Allocation{{Resource: "fairlead.dev/fast", Device: pci.MustParseAddress(device), At: n.now}}); err != nil {
		t.Fatal(err)
	}
}
