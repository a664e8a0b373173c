package ledger

import (
	"encoding/json"
	"errors"
	"runtime"
	"sync"
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

// meta-cni E6: two waits for the disk an ADD. Taking the status off waits for none.
func TestStatusWritten(t *testing.T) {
	status := json.RawMessage(`[{"name":"cbr0","interface":"eth0"}]`)
	l, path := openTemp(t)
	s := sandbox("a", vf1)
	before := commits(t, l)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	s.Attachments[0].Phase, s.Status = Bound, status
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	check := func(when string, want json.RawMessage) {
		t.Helper()
		got, _, err := l.Sandbox("a")
		if err != nil || string(got.Status) != string(want) {
			t.Errorf("%s: the record has status %s, %v; want %s", when, got.Status, err, want)
		}
		all, err := l.Sandboxes()
		if err != nil || string(all[0].Status) != string(want) {
			t.Errorf("%s: the records have status %s, %v; want %s", when, all[0].Status, err, want)
		}
		if e, _ := l.Entry("a"); e.OwesStatus != (want != nil) {
			t.Errorf("%s: OwesStatus = %v", when, e.OwesStatus)
		}
	}
	check("put", status)
	l.StatusWritten("a", json.RawMessage(`[]`))
	l.StatusWritten("b", status)
	check("another status is written", status)
	l.StatusWritten("a", status)
	check("it is written", nil)
	if n := commits(t, l) - before; n != 2 {
		t.Errorf("%d commits, want 2", n)
	}
	// A crash loses it: the status is then written once more.
	reopen := func(from string) {
		t.Helper()
		l = openCopy(t, from)
	}
	reopen(path)
	check("after a crash", status)
	l.StatusWritten("a", status)
	if err := l.PutSandbox(sandbox("b", vf2)); err != nil {
		t.Fatal(err)
	}
	reopen(l.w.db.Path())
	check("a crash after another change", nil)

	s.Status = json.RawMessage(`["another"]`)
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	check("another status", s.Status)
	l.StatusWritten("a", s.Status)
	path = l.w.db.Path()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if l, err = Open(path); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check("after Close", nil)
	checkFile(t, l)
}

// openCopy opens a copy of the file as it is on disk: what a crash would leave.
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

// A record that somebody else changes meanwhile is read again.
func TestUpdatesOfOneSandbox(t *testing.T) {
	l, _ := openTemp(t)
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if err := l.UpdateSandbox("a", func(s *Sandbox) error { s.Attempts++; return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s, _, _ := l.Sandbox("a"); s.Attempts != 40 {
		t.Errorf("%d updates are on record, want 40", s.Attempts)
	}
}

// meta-cni E5: the loops and the release of a VLAN link decode no records.
func TestEntries(t *testing.T) {
	l, path := openTemp(t)
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
	users := func(want ...LinkUser) {
		t.Helper()
		if d := cmp.Diff(want, l.VLANLinkUsers("pf0.7")); d != "" {
			t.Errorf("users of the VLAN link (-want +got):\n%s", d)
		}
	}
	users(LinkUser{"a", "net1"}, LinkUser{"b", "net1"})
	if err := l.PutSandbox(releasing(a)); err != nil {
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
	if err := l.UpdateSandbox("a", func(s *Sandbox) error { s.Attachments = sandbox("a", vf1).Attachments; return nil }); err != nil {
		t.Errorf("filling in the attachments at the retry: %v", err)
	}
}

func TestSubscribe(t *testing.T) {
	l, _ := openTemp(t)
	changes, cancel := l.Subscribe()
	other, cancelOther := l.Subscribe() // takes nothing, and must hold nobody up
	defer cancelOther()
	next := func(want Change) {
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
	for i := range 100 {
		s := sandbox("a", vf1)
		s.Attempts = i
		if err := l.PutSandbox(s); err != nil {
			t.Fatal(err)
		}
	}
	next(Change{SandboxID: "a"})
	if e, _ := l.Entry("a"); e.Attempts == 0 {
		t.Error("the subscriber was told before the readers could see the change")
	}
	if err := l.PutAllocations([]Allocation{allocation(vf2, "fairlead.dev/fast")}); err != nil {
		t.Fatal(err)
	}
	if c := <-changes; c == (Change{SandboxID: "a"}) { // one more may be merged from the 100
		next(Change{Allocations: true})
	} else if c != (Change{Allocations: true}) {
		t.Errorf("got %+v", c)
	}
	if err := l.PutSandbox(sandbox("b", vf1)); !errors.As(err, new(*HeldError)) {
		t.Fatal(err)
	}
	if err := l.DeleteSandbox("a"); err != nil {
		t.Fatal(err)
	}
	next(Change{SandboxID: "a"}) // and nothing of b, which was refused
	cancel()
	if _, ok := <-changes; ok {
		t.Error("a change after cancel")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		if _, ok := <-other; !ok {
			break
		}
		if n > 3 {
			t.Fatal("equal changes are not merged")
		}
	}
	late, cancelLate := l.Subscribe()
	if _, ok := <-late; ok {
		t.Error("a change of a closed ledger")
	}
	cancelLate()
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
	// bbolt panics if the file is damaged.
	if err := l.w.update(func(b *batch) error { _ = b.delete("a"); panic("page 7") }); err == nil || err.Error() != "panic: page 7" {
		t.Errorf("a panic: %v", err)
	}
	for i, x := range []*index{l.w.index, l.w.staged} {
		if len(x.sandboxes) != 1 || len(x.devices) != 1 || len(x.allocations) != 0 {
			t.Errorf("index %d: %v", i, describeIndex(x))
		}
	}
	if err := l.PutSandbox(sandbox("b", vf1)); !errors.As(err, new(*HeldError)) {
		t.Errorf("got %v, want *HeldError", err)
	}
	if err := l.PutSandbox(sandbox("b", vf2)); err != nil {
		t.Errorf("the ledger after all this: %v", err)
	}
}
