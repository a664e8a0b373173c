package sandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
)

// The failing step is injected at every step. m#1239, cni#115, cni#119, cni#212:
// whatever fails, nothing is left, neither on the node nor in the ledger.
func TestAddFailsAtEveryStep(t *testing.T) {
	boom := errors.New("boom")
	for _, late := range []bool{false, true} {
		for at := 1; ; at++ {
			n := newNode(t)
			n.pod("p", `[{"name":"fast"},{"name":"bridge-conf"},{"name":"tuned","default-route":["192.0.2.1"]}]`, vf1)
			hit := false
			inject := func(step int, name string) error {
				if step == at && (name != "put" || !late) {
					hit = true
					return boom
				}
				return nil
			}
			if late {
				n.world.Late = inject
			} else {
				n.world.Fail = inject
			}
			_, err := n.call("ADD", "c1", "p")
			if at > n.world.Steps {
				if err != nil || hit {
					t.Fatalf("without a fault: %v", err)
				}
				break
			}
			if !hit {
				continue
			}
			t.Run(fmt.Sprintf("step %d late=%v", at, late), func(t *testing.T) {
				n.t = t
				if err == nil || !strings.Contains(err.Error(), "boom") {
					t.Errorf("error: %v\n%s", err, n.world.Trace())
				}
				n.wantClean()
			})
		}
	}
}

// As above, and each step of the undoing fails too, once. m#1521: what could not
// be undone is recorded, and undone by a retry.
func TestUndoFailsAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		n := newNode(t)
		n.pod("p", "fast, bridge-conf, tuned", vf1)
		undoing, undoSteps, hit := false, 0, false
		n.world.Fail = func(_ int, name string) error {
			if !undoing && strings.Count(strings.Join(n.world.Log, "\n"), "exec ADD") == 4 {
				undoing = true
				return errors.New("boom")
			}
			if undoing && name != "bind" && name != "add" {
				if undoSteps++; undoSteps == at {
					hit = true
					return errors.New("undo boom")
				}
			}
			return nil
		}
		if _, err := n.call("ADD", "c1", "p"); err == nil {
			t.Fatal("no error")
		}
		if !hit {
			n.wantClean()
			break
		}
		t.Run(fmt.Sprintf("undo step %d", at), func(t *testing.T) {
			n.t = t
			n.world.Fail = nil
			n.now = n.now.Add(maxRetry)
			if err := n.keeper.Reconcile(t.Context()); err != nil {
				t.Error(err)
			}
			n.wantClean()
		})
	}
}

func TestFullDiskAtTheLedger(t *testing.T) {
	for _, at := range []string{"intent", "bound"} {
		n := newNode(t)
		n.pod("p", "fast", vf1)
		n.world.Fail = func(_ int, name string) error {
			bound := n.world.Did("bind") || n.world.Did("exec ADD")
			if name == "put" && bound == (at == "bound") {
				return fmt.Errorf("%w: no space left on device; free space", ledger.ErrFull)
			}
			return nil
		}
		_, err := n.call("ADD", "c1", "p")
		if err == nil || KindOf(err) != TryAgain || !strings.Contains(err.Error(), "free space") {
			t.Errorf("%s: %v", at, err)
		}
		n.wantClean()
	}
}

// Two sandboxes race for one VF: one gets it, the other a clear error.
func TestRaceForOneVF(t *testing.T) {
	n := newNode(t)
	const pods = 6
	for i := range pods {
		n.pod(fmt.Sprint("p", i), "fast", vf1)
		n.newNetns(fmt.Sprint("/run/netns/c", i))
	}
	errs := make([]error, pods)
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() { _, errs[i] = n.serve(t.Context(), "ADD", n.request(fmt.Sprint("c", i), fmt.Sprint("p", i))) })
	}
	wg.Wait()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !strings.Contains(err.Error(), vf1+" is held by pod default/p") || KindOf(err) != TryAgain:
			t.Errorf("error: %v", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d sandboxes have the VF", winners)
	}
}

// Many ADDs and DELs at a time.
func TestConcurrency(t *testing.T) {
	n := newNode(t)
	const pods = 24
	for i := range pods {
		n.pod(fmt.Sprint("p", i), "fast, macvlan-conf, tuned", fmt.Sprintf("0000:3b:%02x.%d", 2+i/8, i%8))
		n.newNetns(fmt.Sprint("/run/netns/c", i))
	}
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() {
			for range 3 {
				if _, err := n.serve(t.Context(), "ADD", n.request(fmt.Sprint("c", i), fmt.Sprint("p", i))); err != nil {
					t.Error(err)
				}
				if _, err := n.serve(t.Context(), "DEL", n.request(fmt.Sprint("c", i), fmt.Sprint("p", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		if err := n.keeper.Reconcile(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	n.wantClean()
	if len(n.keeper.locks.held) != 0 {
		t.Errorf("locks left: %v", n.keeper.locks.held)
	}
}

// A panic is one call's failure: everything is undone, the agent goes on.
func TestPanic(t *testing.T) {
	for _, where := range []string{"prepare", "bind", "add"} {
		n := newNode(t)
		n.pod("p", "fast, bridge-conf", vf1)
		n.world.Fail = func(_ int, name string) error {
			if name == where {
				panic("nil map")
			}
			return nil
		}
		_, err := n.call("ADD", "c1", "p")
		if err == nil || !strings.Contains(err.Error(), "internal error: nil map") {
			t.Errorf("%s: %v", where, err)
		}
		n.wantClean()
	}
}

// The shim that hangs up ends the work, and its networks are rolled back though the
// call's context is over.
func TestHangUp(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	ctx, cancel := context.WithCancelCause(t.Context())
	n.world.Late = func(_ int, name string) error {
		if name == "bind" {
			cancel(errors.New("the runtime gave the call up"))
		}
		return nil
	}
	n.newNetns("/run/netns/c1")
	gate := make(chan struct{})
	n.world.Hold["add"] = gate
	go func() { <-ctx.Done(); close(gate) }()
	n.writeConf("10-bridge.conflist", strings.Replace(primaryConf, `{"type":"bridge"},`, `{"type":"bridge"},{"type":"second"},`, 1))
	if _, err := n.serve(ctx, "ADD", n.request("c1", "p")); err == nil || !strings.Contains(err.Error(), "gave the call up") && !strings.Contains(err.Error(), "canceled") {
		t.Errorf("got %v", err)
	}
	n.wantClean()
}

// Some plugins, firewall for one, undo by the result that they gave.
func TestUndoHasTheResultsOfWhatWasMade(t *testing.T) {
	n := newNode(t)
	n.pod("p", "bridge-conf")
	n.world.Fail = func(_ int, name string) error {
		if name == "add" && strings.Contains(strings.Join(n.world.Log, "\n"), "exec ADD c1 eth0 portmap") {
			return errors.New("boom")
		}
		return nil
	}
	if _, err := n.call("ADD", "c1", "p"); err == nil {
		t.Fatal("no error")
	}
	if !strings.Contains(n.world.Trace(), "exec DEL c1 eth0 portmap {\"portMappings\":[{\"hostPort\":80}]} prevResult") {
		t.Errorf("portmap was not told what it had made:\n%s", n.world.Trace())
	}
	n.wantClean()
}

// A program that waits for an interface before it, in vain, leaves nothing.
func TestAProgramThatWaitedInVainLeavesNothing(t *testing.T) {
	n := newNode(t)
	n.nad("forced", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","builtin":false}`)
	n.pod("p", "macvlan-conf, forced", vf1)
	n.world.Failing("bind")
	if _, err := n.call("ADD", "c1", "p"); err == nil {
		t.Fatal("no error")
	}
	n.wantClean()
}
