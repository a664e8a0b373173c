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

// The agent dies at any step of an ADD or a DEL, before the step or just after it;
// the next agent finds the ledger as it was on disk at that moment and brings node
// and ledger to rest: a complete sandbox stays as it is, of any other nothing is
// left. (cni#115, cni#126, m#1239, m#948)
func TestCrashAtEveryStep(t *testing.T) {
	for _, command := range []string{"ADD", "DEL"} {
		for _, late := range []bool{false, true} {
			for at := 1; crash(t, command, late, at); at++ {
			}
		}
	}
}

// crash reports whether there was a step to crash at.
func crash(t *testing.T, command string, late bool, at int) bool {
	n := newNode(t)
	n.pod("p", "fast, bridge-conf, tuned", vf1)
	if command == "DEL" {
		n.mustAdd("c1", "p")
	}
	before := n.world.Steps
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
			return errors.New("dead") // what this agent does from here on never happened
		}
		return nil
	}
	if late {
		n.world.Late = snapshot
	} else {
		n.world.Fail = snapshot
	}
	_, _ = n.call(command, "c1", "p")
	if after == nil {
		return false
	}
	t.Run(fmt.Sprintf("%s step %d late=%v", command, at, late), func(t *testing.T) {
		n.t, n.world = t, after
		after.Use(t)
		n.open(file)
		before, known, err := n.ledger.Sandbox("c1")
		if err != nil {
			t.Fatal(err)
		}
		if err := n.keeper.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		if known && complete(before) && !before.Releasing {
			wantWhole(t, n, before)
			return
		}
		n.wantClean()
		// And the pod's next try works.
		n.mustAdd("c2", "p")
	})
	return true
}

func wantWhole(t *testing.T, n *node, before ledger.Sandbox) {
	t.Helper()
	if got := sandboxtest.Describe(n.sandbox("c1")); got != sandboxtest.Describe(before) {
		t.Errorf("record: %s, was %s", got, sandboxtest.Describe(before))
	}
	for _, want := range []string{"c1 eth0 bridge", "c1 net1 sriov", "c1 net2 bridge", "c1 net3 macvlan", "VF " + vf1 + " of c1"} {
		if !strings.Contains(n.world.Left(), want) {
			t.Errorf("%q is gone; left:\n%s", want, n.world.Left())
		}
	}
}
