package agent

import (
	"path/filepath"
	"testing"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// devices B10: custody hears of each write, and needs to look at the ledger for none.
func TestCustodyHearsOfTheLedger(t *testing.T) {
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := custody.New(custody.Sources{Ledger: l})
	r := reportingLedger{l, c}
	vf := pci.MustParseAddress("0000:3b:10.0")
	allocations := []ledger.Allocation{{Resource: "fairlead.dev/fast", Device: vf}}
	s := ledger.Sandbox{ID: "a", Attachments: []ledger.Attachment{{IfName: "net1", Phase: ledger.Intent, Members: []ledger.Member{{Device: vf}}}}}
	for _, step := range []struct {
		name string
		do   func() error
		want int // uses
	}{
		{"PutSandbox", func() error { return r.PutSandbox(s) }, 1},
		{"UpdateSandbox", func() error {
			return r.UpdateSandbox("a", func(s *ledger.Sandbox) error { s.Attachments[0].Members[0].DeviceReturned = true; return nil })
		}, 0},
		{"PutSandbox again", func() error { return r.PutSandbox(s) }, 1},
		{"DeleteSandbox", func() error { return r.DeleteSandbox("a") }, 0},
		{"PutAllocations", func() error { // deviceplugin reports its own
			defer c.AllocationsChanged(vf)
			return r.PutAllocations(allocations)
		}, 1},
		{"DeleteAllocations", func() error { return r.DeleteAllocations(allocations) }, 0},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if uses := c.View().Uses(vf); len(uses) != step.want {
			t.Errorf("after %s: %v, want %d uses", step.name, uses, step.want)
		}
	}
}
