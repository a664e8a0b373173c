package cni

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/wire"
)

func TestTombstones(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast, bridge-conf", vf1)
	n.pod("q", "macvlan-conf")
	n.mustAdd("c1", "p")
	n.mustAdd("c2", "q")
	tombs := n.server.o.Tombstones
	for _, id := range []string{"c1", "unknown"} {
		if err := tombs.Write(wire.Tombstone{Version: 1, Request: n.request("DEL", id, "p"), At: n.now, Reason: "no agent"}); err != nil {
			t.Fatal(err)
		}
	}
	// m#948: a tombstone that a power loss has truncated still names its sandbox.
	if err := os.WriteFile(tombs.Dir+"/c2@eth0.json", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.server.replayer.replay(t.Context())
	n.wantClean()
	if left, err := tombs.List(); err != nil || len(left) != 0 {
		t.Errorf("tombstones left: %+v, %v", left, err)
	}
}

// A tombstone goes when its release is recorded for a retry, and stays when not.
func TestTombstoneWhoseDelFails(t *testing.T) {
	for _, ledgerFails := range []bool{false, true} {
		n := newNode(t)
		n.pod("p", "macvlan-conf")
		n.mustAdd("c1", "p")
		tombs := n.server.o.Tombstones
		if err := tombs.Write(wire.Tombstone{Version: 1, Request: n.request("DEL", "c1", "p")}); err != nil {
			t.Fatal(err)
		}
		n.world.Fail = func(_ int, name string) error {
			if name == "release" || name == "put" && ledgerFails {
				return errors.New("boom")
			}
			return nil
		}
		n.server.replayer.replay(t.Context())
		left, err := tombs.List()
		if err != nil || (len(left) == 1) != ledgerFails {
			t.Errorf("ledger fails %v: tombstones %+v, %v", ledgerFails, left, err)
		}
		n.world.Fail = nil
		n.now = n.now.Add(time.Hour)
		n.server.replayer.replay(t.Context())
		if err := n.keeper.Reconcile(t.Context()); err != nil {
			t.Error(err)
		}
		n.wantClean()
	}
}

// A tombstone that comes while the agent serves is replayed soon, without a look at the
// directory every so often.
func TestATombstoneWakesTheReplay(t *testing.T) {
	n := newNode(t)
	n.pod("p", "macvlan-conf")
	n.mustAdd("c1", "p")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); n.server.replayer.loop(ctx) }()
	time.Sleep(replaySoon + 200*time.Millisecond) // its first look is over
	if err := n.server.o.Tombstones.Write(wire.Tombstone{Version: 1, Request: n.request("DEL", "c1", "p"), At: n.now}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, ok, err := n.ledger.Sandbox("c1"); err == nil && !ok {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it was not replayed")
		}
	}
	cancel()
	<-ended
	n.wantClean()
}
