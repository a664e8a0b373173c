package custody

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
)

// devices B10: a real ledger's changes reach the View by its news; nobody looks for them.
func TestTheViewFollowsARealLedger(t *testing.T) {
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := New(Sources{Ledger: l})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- o.Run(ctx) }()
	views, unsubscribe := o.Subscribe()
	defer unsubscribe()
	allocations := []ledger.Allocation{gave(fast, vf1)}
	for _, step := range []struct {
		do   func() error
		want string // uses of vf0 and vf1
	}{
		{func() error { return l.PutSandbox(holds("a", podA, fast, vf0)) }, "sandbox"},
		{func() error { return l.PutAllocations(allocations) }, "sandbox allocation"},
		{func() error { return l.DeleteSandbox("a") }, "allocation"},
		{func() error { return l.DeleteAllocations(allocations) }, ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		until := time.After(5 * time.Second)
		for kindsOf(o.View()) != step.want {
			select {
			case <-views:
			case <-until:
				t.Fatalf("the View says %q after 5 s, want %q", kindsOf(o.View()), step.want)
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func kindsOf(v *View) string {
	kinds := ""
	for _, u := range append(v.Uses(vf0), v.Uses(vf1)...) {
		if kinds != "" {
			kinds += " "
		}
		kinds += string(u.Kind)
	}
	return kinds
}
