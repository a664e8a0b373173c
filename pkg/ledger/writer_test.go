package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// meta-cni E1: a change that is durable does not wait for the commit of others.
func TestDurableChangeDoesNotWait(t *testing.T) {
	l, _ := openTemp(t)
	gate := make(chan struct{})
	defer close(gate)
	answered := make(chan error, 1)
	go func() {
		answered <- l.w.update(func(*batch) error {
			// Meanwhile somebody else asks for a change, whose commit takes its time.
			go l.w.update(func(*batch) error { <-gate; return nil })
			awaitQueue(l, 1)
			return nil
		})
	}()
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the change is durable, and still waits")
	}
}

func awaitQueue(l *Ledger, n int) {
	for queued := -1; queued < n; {
		l.w.queueMu.Lock()
		queued = len(l.w.queue)
		l.w.queueMu.Unlock()
		runtime.Gosched()
	}
}

// commits counts the transactions that have been written.
func commits(t *testing.T, l *Ledger) (n uint64) {
	t.Helper()
	if err := l.w.db.View(func(tx *bolt.Tx) error { n = uint64(tx.ID()); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

const testStatus = `[{"name":"cbr0","interface":"eth0"}]`

// checkStatus compares all ways to read a status.
func checkStatus(t *testing.T, l *Ledger, when, want string) {
	t.Helper()
	got, _, err := l.Sandbox("a")
	if err != nil || string(got.Status) != want {
		t.Errorf("%s: the record has status %s, %v; want %s", when, got.Status, err, want)
	}
	all, err := l.Sandboxes()
	if err != nil || string(all[0].Status) != want {
		t.Errorf("%s: the records have status %s, %v; want %s", when, all[0].Status, err, want)
	}
	if e, _ := l.Entry("a"); e.OwesStatus != (want != "") {
		t.Errorf("%s: OwesStatus = %v", when, e.OwesStatus)
	}
}

// meta-cni E6: two waits for the disk an ADD. Taking the status off waits for none.
func TestStatusWritten(t *testing.T) {
	l, _ := openTemp(t)
	s := sandbox("a", vf1)
	before := commits(t, l)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	s.Attachments[0].Phase, s.Status = Bound, json.RawMessage(testStatus)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	checkStatus(t, l, "put", testStatus)
	l.StatusWritten("a", []byte(`[]`))
	l.StatusWritten("b", s.Status)
	checkStatus(t, l, "another status is written", testStatus)
	l.StatusWritten("a", s.Status)
	checkStatus(t, l, "it is written", "")
	if n := commits(t, l) - before; n != 2 {
		t.Errorf("%d commits, want 2", n)
	}
	s.Status = json.RawMessage(`["another"]`)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	checkStatus(t, l, "another status", `["another"]`)
}

// A crash may lose that a status is written: it is then written once more.
func TestStatusWrittenIsDurable(t *testing.T) {
	l, path := openTemp(t)
	s := sandbox("a", vf1)
	s.Status = json.RawMessage(testStatus)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	l.StatusWritten("a", s.Status)
	checkStatus(t, openCopy(t, path), "a crash", testStatus)
	if err := l.PutSandbox(sandbox("b", vf2)); err != nil {
		t.Fatal(err)
	}
	checkStatus(t, openCopy(t, path), "a crash after another change", "")

	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	l.StatusWritten("a", s.Status)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	checkStatus(t, l, "after Close", "")
	checkFile(t, l)
}

// openCopy opens a copy of the file as it is on disk, as after a crash.
func openCopy(t *testing.T, path string) *Ledger {
	t.Helper()
	to := t.TempDir() + "/ledger.db"
	copyFile(t, path, to)
	l, err := Open(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// meta-cni E5: the loops decode no records.
func TestEntries(t *testing.T) {
	l, _ := openTemp(t)
	a, b := withChild("a", "pf0", "pf0.7"), withChild("b", "pf0", "pf0.7")
	c := sandbox("c", vf1, vf2)
	c.Releasing, c.Failure, c.Attempts, c.RetryAt = true, "busy", 2, c.Created.Add(time.Minute)
	c.Attachments[1].Phase = Released
	for _, s := range []Sandbox{c, b, a} {
		if err := l.PutSandbox(s); err != nil {
			t.Fatal(err)
		}
	}
	want := []Entry{
		{ID: "a", IfName: "eth0", Pod: a.Pod, Netns: a.Netns, Created: a.Created,
			Holdings: []Holding{{Network: "default/macvlan", IfName: "net1", Uplink: "pf0", VLANLink: "pf0.7"}}},
		{ID: "b", IfName: "eth0", Pod: b.Pod, Netns: b.Netns, Created: b.Created,
			Holdings: []Holding{{Network: "default/macvlan", IfName: "net1", Uplink: "pf0", VLANLink: "pf0.7"}}},
		{ID: "c", IfName: "eth0", Pod: c.Pod, Netns: c.Netns, Created: c.Created,
			Releasing: true, Failure: "busy", Attempts: 2, RetryAt: c.RetryAt,
			Holdings: []Holding{{Network: "default/fast", IfName: "net1", Resource: "fairlead.dev/fast", Device: vf1, Original: &c.Attachments[0].Members[0].VF.Original}}},
	}
	if d := cmp.Diff(want, l.Entries()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, ok := l.Entry("x"); ok {
		t.Error("there is an entry of an unknown sandbox")
	}
}

func TestVLANLinkUsers(t *testing.T) {
	l, path := openTemp(t)
	for _, id := range []string{"b", "a"} {
		if err := l.PutSandbox(withChild(id, "pf0", "pf0.7")); err != nil {
			t.Fatal(err)
		}
	}
	users := func(want ...LinkUser) {
		t.Helper()
		if d := cmp.Diff(want, l.VLANLinkUsers("pf0.7")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	users(LinkUser{"a", "net1"}, LinkUser{"b", "net1"})
	if err := l.PutSandbox(releasing(withChild("a", "pf0", "pf0.7"))); err != nil {
		t.Fatal(err)
	}
	users(LinkUser{"b", "net1"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	users(LinkUser{"b", "net1"})
	// Links do not survive a reboot, nor do claims on them.
	for _, id := range []string{"one", "two"} {
		if _, err := l.Boot(id); err != nil {
			t.Fatal(err)
		}
	}
	users()
	if err := l.PutAllocations([]Allocation{{Resource: "r", Device: vf2, Netdev: "pf0"}}); err != nil {
		t.Errorf("a link from before the reboot counts: %v", err)
	}
}

// meta-cni B1: a DEL of an unknown sandbox is remembered, also if there is no primary
// network yet to run it by.
func TestReleasingWithoutAttachments(t *testing.T) {
	l, path := openTemp(t)
	want := Sandbox{ID: "a", IfName: "eth0", Path: "/opt/cni/bin", Created: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), Releasing: true, Failure: "there is no primary network", Attempts: 1}
	if err := l.PutSandbox(want); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, ok, err := l.Sandbox("a")
	if d := cmp.Diff(want, got); !ok || err != nil || d != "" {
		t.Fatalf("%v, %v (-want +got):\n%s", ok, err, d)
	}
	if e := l.Entries(); len(e) != 1 || !e[0].Releasing {
		t.Errorf("entries %+v, want the one that is being released", e)
	}
	if err := rewrite(l, "a", func(s *Sandbox) { s.Attachments = sandbox("a", vf1).Attachments }); err != nil {
		t.Errorf("filling in the attachments at the retry: %v", err)
	}
}

func await(t *testing.T, changes <-chan Change, want Change) {
	t.Helper()
	select {
	case got := <-changes:
		if got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no change, want %+v", want)
	}
}

func TestSubscribe(t *testing.T) {
	l, _ := openTemp(t)
	changes, cancel := l.Subscribe()
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Fatal(err)
	}
	await(t, changes, Change{SandboxID: "a"})
	if err := l.PutAllocations([]Allocation{allocation(vf2, "fairlead.dev/fast")}); err != nil {
		t.Fatal(err)
	}
	await(t, changes, Change{Allocations: true})
	if err := l.PutSandbox(sandbox("b", vf1)); !errors.As(err, new(*HeldError)) {
		t.Fatal(err)
	}
	if err := l.DeleteSandbox("a"); err != nil {
		t.Fatal(err)
	}
	await(t, changes, Change{SandboxID: "a"}) // and nothing of b, which was refused
	cancel()
	cancel()
	if _, ok := <-changes; ok {
		t.Error("a change after cancel")
	}
}

// A subscriber that takes nothing holds nobody up, and costs little.
func TestSlowSubscriber(t *testing.T) {
	l, _ := openTemp(t)
	changes, cancel := l.Subscribe()
	defer cancel()
	for i := range 50 {
		s := sandbox("a", vf1)
		s.Attempts = i
		if err := l.PutSandbox(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.DeleteSandbox("b"); err != nil { // nothing changes
		t.Fatal(err)
	}
	if err := l.PutSandbox(sandbox("c", vf2)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) == 0 || got[len(got)-1] != "c" {
		got = append(got, (<-changes).SandboxID)
	}
	// One a may have been taken before the others came.
	if n := len(got); n < 2 || n > 3 || got[0] != "a" {
		t.Errorf("got %q, want a, c: equal changes are merged", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-changes; ok {
		t.Error("a change of a closed ledger")
	}
	late, cancelLate := l.Subscribe()
	defer cancelLate()
	if _, ok := <-late; ok {
		t.Error("a change of a closed ledger, subscribed late")
	}
}

// bbolt panics if the file is damaged. Whoever writes gets an error, and waits for
// nothing.
func TestDamageWhileOpen(t *testing.T) {
	tests := map[string]func(t *testing.T, l *Ledger, path string) error{
		"panic": func(_ *testing.T, l *Ledger, _ string) error {
			return l.w.update(func(b *batch) error { _ = b.delete("a"); panic("page 7") })
		},
		"file is cut short": func(t *testing.T, l *Ledger, path string) error {
			truncate(t, path, 4096)
			return l.DeleteSandbox("a")
		},
	}
	for name, damage := range tests {
		t.Run(name, func(t *testing.T) {
			l, path := openTemp(t)
			for i := range 50 {
				if err := l.PutSandbox(sandbox(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{damage(t, l, path), l.PutSandbox(sandbox("b", vf2))} {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("got %v, want ErrDamaged", err)
				}
			}
			if id, _, _ := l.Holder(vf1); id != "a" {
				t.Errorf("vf1 is held by %q, want a", id)
			}
			if err := l.Close(); !errors.Is(err, ErrDamaged) {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// A batch in which one change fails halfway leaves the index as the file is.
func TestFailureHalfwayLeavesNoTrace(t *testing.T) {
	l, _ := openTemp(t)
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := l.w.update(func(b *batch) error {
		if err := b.delete("a"); err != nil {
			return err
		}
		if err := b.putAllocation(allocation(vf1, "fairlead.dev/fast")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if err := l.PutSandbox(sandbox("b", vf1)); !errors.As(err, new(*HeldError)) {
		t.Errorf("got %v, want *HeldError", err)
	}
	if err := l.PutSandbox(sandbox("b", vf2)); err != nil {
		t.Errorf("the ledger after all this: %v", err)
	}
	for i, x := range []*index{l.w.index, l.w.staged} {
		if len(x.sandboxes) != 2 || len(x.devices) != 2 || len(x.allocations) != 0 {
			t.Errorf("index %d: %v", i, describeIndex(x))
		}
	}
}
