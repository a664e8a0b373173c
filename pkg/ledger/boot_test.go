package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/pci"
)

// PAINS 14 (op#322): after a reboot the VFs are new, and nobody has them, but the addresses
// are still to be released. A late release of an old sandbox touches no VF that a new pod
// may have (cni#219).
func TestBoot(t *testing.T) {
	l, path := openTemp(t)
	boot := func(id string, want bool) {
		t.Helper()
		if rebooted, err := l.Boot(id); err != nil || rebooted != want {
			t.Fatalf("Boot(%q) = %v, %v; want %v", id, rebooted, err, want)
		}
	}
	allocation := Allocation{Resource: "fairlead.dev/fast", Device: vf2, At: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	vf3 := pci.MustParseAddress("0000:3b:02.3")
	before := sandbox("a", vf1, vf3)
	before.Attachments[1].Members[0].Plugin = "binary"
	if err := l.PutSandbox(before); err != nil {
		t.Fatal(err)
	}
	if err := l.PutAllocations([]Allocation{allocation}); err != nil {
		t.Fatal(err)
	}
	check := func(when string, want Sandbox, allocations ...Allocation) {
		t.Helper()
		got, _, err := l.Sandbox("a")
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v, sandbox (-want +got):\n%s", when, err, d)
		}
		left, err := l.Allocations()
		if d := cmp.Diff(allocations, left); err != nil || d != "" {
			t.Errorf("%s: %v, allocations (-want +got):\n%s", when, err, d)
		}
	}
	boot("one", false) // a ledger from before boots were noted: of this boot
	check("first known boot", before, allocation)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	boot("one", false)
	check("the agent was restarted", before, allocation)

	boot("two", true)
	after := sandbox("a", vf1, vf3)
	after.EarlierBoot, after.Attachments[0].Members[0].DeviceReturned, after.Attachments[1].Members[0].Plugin = true, true, "binary"
	check("the node was rebooted", after)
	boot("two", false)
	if id, _, held := l.Holder(vf1); held {
		t.Errorf("the VF is still held by %q", id)
	}
	if err := l.PutSandbox(sandbox("b", vf1)); err != nil {
		t.Errorf("a new sandbox: %v", err)
	}
	if s, _, _ := l.Sandbox("b"); s.EarlierBoot {
		t.Error("a new sandbox counts as one of before the reboot")
	}
	if err := l.PutSandbox(sandbox("c", vf3)); err == nil {
		t.Error("a new sandbox took a VF that the release of an old one's program may reset")
	}
	if err := rewrite(l, "a", func(s *Sandbox) { s.Releasing = true }); err != nil {
		t.Fatal(err)
	}
	after.Releasing = true
	check("its release began", after)
	if err := l.DeleteSandbox("a"); err != nil {
		t.Fatal(err)
	}
	if id, _, _ := l.Holder(vf1); id != "b" {
		t.Errorf("after the old sandbox's release the VF is held by %q", id)
	}
	if err := l.PutSandbox(sandbox("c", vf3)); err != nil {
		t.Errorf("after its release: %v", err)
	}
}
