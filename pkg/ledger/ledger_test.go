package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

var (
	vf1 = pci.MustParseAddress("0000:3b:02.1")
	vf2 = pci.MustParseAddress("0000:3b:02.2")
)

func openTemp(t testing.TB) (*Ledger, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state", "ledger.db")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, path
}

func sandbox(id string, devices ...pci.Address) Sandbox {
	s := Sandbox{ID: id, IfName: "eth0", Pod: PodRef{Namespace: "default", Name: "pod-" + id, UID: "uid-" + id},
		Netns: Netns{Path: "/run/netns/" + id, Device: 4, Inode: 4026532001, Boot: "one"}, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for i, d := range devices {
		mtu, trust := 1500, true
		vf := &VFMember{Original: VFState{Index: i, Settings: device.Settings{MTU: &mtu, Trust: &trust}, Netdev: &NetdevState{Name: fmt.Sprint("vf", d.Function)}}}
		s.Attachments = append(s.Attachments, Attachment{
			Network: "default/fast", IfName: fmt.Sprintf("net%d", i+1), Phase: Intent, CNIVersion: "1.0.0", Resource: "fairlead.dev/fast",
			Members: []Member{{Type: "sriov", Plugin: "sriov", Config: json.RawMessage(`{"name":"fast"}`), Device: d, VF: vf}},
		})
	}
	return s
}

func TestRecordsSurviveReopening(t *testing.T) {
	l, path := openTemp(t)
	want := sandbox("a", vf1)
	if err := l.PutSandbox(want); err != nil {
		t.Fatal(err)
	}
	allocation := Allocation{Resource: "fairlead.dev/fast", Device: vf2, At: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)}
	if err := l.PutAllocations([]Allocation{allocation}); err != nil {
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
	if err != nil || !ok {
		t.Fatalf("Sandbox: %v, %v", ok, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	allocations, err := l.Allocations()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Allocation{allocation}, allocations); diff != "" {
		t.Error(diff)
	}
	older := allocation
	older.At = older.At.Add(-time.Second)
	if err := l.DeleteAllocations([]Allocation{older, {Device: vf1}}); err != nil {
		t.Fatal(err)
	}
	if allocations, _ = l.Allocations(); len(allocations) != 1 {
		t.Errorf("an allocation that was made again was deleted with the one before it")
	}
	if err := l.DeleteAllocations([]Allocation{allocation}); err != nil {
		t.Fatal(err)
	}
	if allocations, _ = l.Allocations(); len(allocations) != 0 {
		t.Errorf("left after DeleteAllocations: %v", allocations)
	}
}

// m#499, cni#219: no two sandboxes ever have one VF, whatever they say.
func TestOneHolderPerDevice(t *testing.T) {
	l, _ := openTemp(t)
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	err := l.PutSandbox(sandbox("b", vf2, vf1))
	if !errors.As(err, &held) {
		t.Fatalf("second holder: got %v, want *HeldError", err)
	}
	const want = "device 0000:3b:02.1 is held by pod default/pod-a (sandbox a, interface net1), where it is in use"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	if _, _, ok := l.Holder(vf2); ok {
		t.Error("the refused sandbox's other device is in the index")
	}
	if _, ok, _ := l.Sandbox("b"); ok {
		t.Error("the refused sandbox is recorded")
	}
	if err := l.PutSandbox(sandbox("c", vf2, vf2)); !errors.As(err, &held) {
		t.Errorf("one device twice in one sandbox: got %v, want *HeldError", err)
	}
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Errorf("the holder's own second put: %v", err)
	}
}

func TestReleaseFreesTheDevice(t *testing.T) {
	tests := map[string]func(l *Ledger) error{
		"sandbox deleted": func(l *Ledger) error { return l.DeleteSandbox("a") },
		"attachment released": func(l *Ledger) error {
			return rewrite(l, "a", func(s *Sandbox) { s.Releasing, s.Attachments[0].Phase = true, Released })
		},
		"attachment gone from the record": func(l *Ledger) error { return l.PutSandbox(sandbox("a")) },
	}
	for name, release := range tests {
		t.Run(name, func(t *testing.T) {
			l, _ := openTemp(t)
			if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
				t.Fatal(err)
			}
			if err := release(l); err != nil {
				t.Fatal(err)
			}
			if err := l.PutSandbox(sandbox("b", vf1)); err != nil {
				t.Errorf("the next holder: %v", err)
			}
			// cni#219: a later release of the old sandbox does not touch the new holder.
			if err := l.DeleteSandbox("a"); err != nil {
				t.Fatal(err)
			}
			if id, ifName, ok := l.Holder(vf1); !ok || id != "b" || ifName != "net1" {
				t.Errorf("Holder = %s, %s, %v; want b, net1", id, ifName, ok)
			}
		})
	}
}

func TestReleasingIsForGood(t *testing.T) {
	l, _ := openTemp(t)
	s := sandbox("a", vf1)
	s.Releasing = true
	if err := l.PutSandbox(s); err != nil {
		t.Fatal(err)
	}
	s.Releasing = false
	if err := l.PutSandbox(s); !errors.Is(err, ErrReleasing) {
		t.Errorf("got %v, want ErrReleasing", err)
	}
}

// rewrite writes the record of a sandbox again, with a change.
func rewrite(l *Ledger, id string, change func(*Sandbox)) error {
	s, _, err := l.Sandbox(id)
	if err != nil {
		return err
	}
	change(&s)
	return l.PutSandbox(s)
}

func TestEdgeCasesOfSandboxes(t *testing.T) {
	l, _ := openTemp(t)
	if err := l.PutSandbox(Sandbox{}); err == nil {
		t.Error("a sandbox without an id was recorded")
	}
	if err := l.DeleteSandbox("x"); err != nil {
		t.Errorf("delete a sandbox that is not there: %v", err)
	}
}

func TestRacingHolders(t *testing.T) {
	l, _ := openTemp(t)
	const n = 8
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = l.PutSandbox(sandbox(fmt.Sprint(i), vf1)) })
	}
	wg.Wait()
	winners := 0
	for _, err := range errs {
		var held *HeldError
		if err == nil {
			winners++
		} else if !errors.As(err, &held) {
			t.Errorf("got %v, want *HeldError", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d sandboxes got the device, want 1", winners)
	}
}

func TestOpenLocked(t *testing.T) {
	_, path := openTemp(t)
	_, err := open(path, time.Millisecond)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "second agent") {
		t.Errorf("got %v, want ErrLocked with its cause", err)
	}
}

// m#948, m#1087: after a power loss the records are either all there or the file
// is reported; it is never taken for an empty one.
func TestOpenDamaged(t *testing.T) {
	damages := map[string]func(t *testing.T, path string){
		"text instead":   func(t *testing.T, path string) { write(t, path, []byte(strings.Repeat("no ledger\n", 2000))) },
		"cut to a page":  func(t *testing.T, path string) { truncate(t, path, 4096) },
		"cut to 3 pages": func(t *testing.T, path string) { truncate(t, path, 3*4096) },
		"pages zeroed": func(t *testing.T, path string) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			clear(raw[2*4096:])
			write(t, path, raw)
		},
		"record is no JSON": func(t *testing.T, path string) {
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket(sandboxesBucket).Put([]byte("x"), []byte("{")) })
			if err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			l, path := openTemp(t)
			for i := range 50 {
				if err := l.PutSandbox(sandbox(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(path)
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			if !strings.Contains(err.Error(), "mv "+path) {
				t.Errorf("no remedy in: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || len(after) != len(before) {
				t.Errorf("the damaged file was changed: %d → %d bytes, %v", len(before), len(after), err)
			}
		})
	}
}

func TestOpenNewerFormat(t *testing.T) {
	l, path := openTemp(t)
	err := l.w.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("3")) })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), `format version "3"`) {
		t.Errorf("got %v, want the version named", err)
	}
}

func TestFull(t *testing.T) {
	l, _ := openTemp(t)
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Fatal(err)
	}
	l.w.db.MaxSize = 1 << 16
	big := sandbox("b", vf2)
	big.Attachments[0].Members[0].Config = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	if err := l.PutSandbox(big); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if _, ok, _ := l.Sandbox("b"); ok {
		t.Error("the failed put left a record")
	}
	if _, _, ok := l.Holder(vf2); ok {
		t.Error("the failed put left its device in the index")
	}
	if id, _, _ := l.Holder(vf1); id != "a" {
		t.Errorf("the other sandbox's device: holder %q, want a", id)
	}
}

// Changes that are committed together do not share each other's failures.
func TestBatches(t *testing.T) {
	l, _ := openTemp(t)
	boom := errors.New("boom")
	var wg sync.WaitGroup
	gate := hold(t, l) // a commit is under way: the rest queues up
	errs := make([]error, 30)
	for i := range errs {
		wg.Go(func() {
			if i%3 == 0 {
				errs[i] = l.w.update(func(b *batch) error {
					e, raw, err := encode(sandbox(fmt.Sprint("bad", i), vf1))
					if err != nil {
						return err
					}
					if err := b.put(e, raw); err != nil {
						return err
					}
					return boom
				})
				return
			}
			errs[i] = l.PutSandbox(sandbox(fmt.Sprint("good", i)))
		})
	}
	awaitQueue(l, len(errs))
	close(gate)
	wg.Wait()
	for i, err := range errs {
		if want := i%3 == 0; errors.Is(err, boom) != want || (err != nil) != want {
			t.Errorf("change %d: %v", i, err)
		}
	}
	all, err := l.Sandboxes()
	if err != nil || len(all) != 20 {
		t.Errorf("%d records, %v; want 20", len(all), err)
	}
	for _, s := range all {
		if strings.HasPrefix(s.ID, "bad") {
			t.Errorf("%s was committed", s.ID)
		}
	}
	if id, _, held := l.Holder(vf1); held {
		t.Errorf("the index has a device of %s, which was not committed", id)
	}
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, raw)
}

// hold keeps the ledger in a commit until the gate is closed.
func hold(t *testing.T, l *Ledger) (gate chan struct{}) {
	t.Helper()
	gate = make(chan struct{})
	begun := make(chan struct{}, 1)
	go l.w.update(func(*batch) error {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-gate
		return nil
	})
	<-begun
	return gate
}
