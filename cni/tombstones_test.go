package cni

import (
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
	// m#948: what a power loss left of a tombstone still names its sandbox.
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
