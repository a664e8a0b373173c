package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// crashNetworks has a VF with a program behind it, a program, and a chain of three.
const crashNetworks = "fast-chain, bridge-conf, tuned, macvlan-conf"

// crashes are the commands during which the agent dies, and how many durable steps
// each has. One more or less changes the promise of an ADD or a DEL.
var crashes = []struct {
	command string
	durable int
}{
	{"ADD", 2},    // intents, results
	{"DEL", 2},    // to be released, gone
	{"QUEUED", 3}, // to be released, the built-in networks are, gone
	{"FAILED", 3}, // an ADD that fails: intents, to be released, gone
	{"REPLACED", 4},
}

// The agent dies at any step, before the step or just after it: at each change of the
// ledger, and at each of every member of a chain. The steps are found by running. The
// next agent finds the ledger as it was on disk at that moment and brings node and
// ledger to rest: a complete sandbox stays as it is, of any other nothing is left.
// (cni#115, cni#126, m#1239, m#948)
func TestCrashAtEveryStep(t *testing.T) {
	for _, c := range crashes {
		n := newNode(t)
		before := n.prepareCrash(c.command)
		n.work(c.command)
		if got := durableSteps(n.world.Log[before:]); got != c.durable {
			t.Errorf("%s has %d durable steps, want %d:\n%s", c.command, got, c.durable, strings.Join(n.world.Log[before:], "\n"))
		}
		for _, late := range []bool{false, true} {
			for at := 1; crash(t, c.command, late, at); at++ {
			}
		}
	}
}

func durableSteps(log []string) int {
	count := 0
	for _, line := range log {
		if strings.HasPrefix(line, "put ") || strings.HasPrefix(line, "delete ") {
			count++
		}
	}
	return count
}

// prepareCrash makes the sandbox that the command works on, and returns how many steps that took.
func (n *node) prepareCrash(command string) (steps int) {
	n.t.Helper()
	n.nad("fast-chain", "fairlead.dev/fast", `{"cniVersion":"1.0.0","plugins":[{"type":"sriov"},{"type":"tuning"}]}`)
	n.pod("p", crashNetworks, vf1)
	switch command {
	case "FAILED":
		n.nad("broken", "", `{"cniVersion":"1.0.0","plugins":[{"type":"macvlan"},{"type":"tuning"},{"type":"absent"}]}`)
		n.pod("p", crashNetworks+", broken", vf1)
	case "DEL", "QUEUED", "REPLACED":
		n.mustAdd("c1", "p")
	}
	return n.world.Steps
}

// work is the command during which the agent dies.
func (n *node) work(command string) {
	r := n.request("c1", "p")
	switch command {
	case "ADD", "FAILED":
		_, _ = n.call("ADD", "c1", "p")
	case "REPLACED": // the pod's sandbox is made again
		_, _ = n.call("ADD", "c2", "p")
	case "DEL":
		_, _ = n.call("DEL", "c1", "p")
	case "QUEUED":
		r.Queued = true
		_, _ = n.serve(n.t.Context(), "DEL", r)
	}
}

// crash reports whether there was a step to crash at.
func crash(t *testing.T, command string, late bool, at int) bool {
	n := newNode(t)
	before := n.prepareCrash(command)
	file := filepath.Join(n.dir, "crashed.db")
	var after *sandboxtest.World
	snapshot := func(step int, _ string) error {
		if step == before+at && after == nil {
			after = n.world.Clone()
			raw, err := os.ReadFile(filepath.Join(n.dir, "ledger.db"))
			if err == nil {
				err = os.WriteFile(file, raw, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}
		if after != nil {
			return errors.New("dead") // the work of this agent from here on never happened
		}
		return nil
	}
	if late {
		n.world.Late = snapshot
	} else {
		n.world.Fail = snapshot
	}
	n.work(command)
	if after == nil {
		return false
	}
	t.Run(fmt.Sprintf("%s step %d late=%v", command, at, late), func(t *testing.T) {
		n.t, n.world = t, after
		after.Use(t)
		n.open(file)
		n.wantRest(t)
	})
	return true
}

// wantRest checks that the next agent comes to rest, and that the pod's next try works.
func (n *node) wantRest(t *testing.T) {
	t.Helper()
	first, second := n.whole(t, "c1"), n.whole(t, "c2")
	if err := n.keeper.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	switch {
	case second != nil:
		wantWhole(t, n, *second)
	case first != nil:
		wantWhole(t, n, *first)
	default:
		n.wantClean()
	}
	n.nad("broken", "", `{"cniVersion":"1.0.0","type":"macvlan"}`)
	n.mustAdd("c3", "p")
	if _, err := n.call("DEL", "c3", "p"); err != nil {
		t.Fatal(err)
	}
	n.wantClean()
}

// whole is the sandbox if it is complete and in use.
func (n *node) whole(t *testing.T, id string) *ledger.Sandbox {
	t.Helper()
	s, ok, err := n.ledger.Sandbox(id)
	if err != nil {
		t.Fatal(err)
	}
	if ok && complete(s) && !s.Releasing {
		return &s
	}
	return nil
}

func wantWhole(t *testing.T, n *node, before ledger.Sandbox) {
	t.Helper()
	id := before.ID
	if got := sandboxtest.Describe(n.sandbox(id)); got != sandboxtest.Describe(before) {
		t.Errorf("record: %s, was %s", got, sandboxtest.Describe(before))
	}
	for _, want := range []string{"eth0 bridge", "net1 sriov", "net1 tuning", "net2 bridge", "net3 macvlan", "net3 tuning", "net3 sbr", "net4 macvlan"} {
		if !strings.Contains(n.world.Left(), id+" "+want) {
			t.Errorf("%q is gone; left:\n%s", want, n.world.Left())
		}
	}
	if n.world.VFs[vf1] != id {
		t.Errorf("the VF is %q's", n.world.VFs[vf1])
	}
}
