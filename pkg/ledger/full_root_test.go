//go:build root

package ledger

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// tinyDisk is a directory with room for so many KiB.
func tinyDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// An update of the agent on a full disk leaves the file of the last format as it is.
func TestConversionOnAFullDisk(t *testing.T) {
	dir := tinyDisk(t, "128k")
	path := filepath.Join(dir, "ledger.db")
	compact(t, path, copyFormat1(t, "rebooted.db"))
	ballast := make([]byte, 128<<10)
	_ = os.WriteFile(filepath.Join(dir, "ballast"), ballast, 0o600) // as much as there is room for
	before := records(t, path)
	if _, err := Open(path); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if d := cmp.Diff(before, records(t, path)); d != "" {
		t.Errorf("the file has changed (-before +after):\n%s", d)
	}
}

// compact copies a ledger without its free pages.
func compact(t *testing.T, to, from string) {
	t.Helper()
	source, err := bolt.Open(from, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := bolt.Open(to, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(bolt.Compact(copied, source, 0), copied.Close(), source.Close()); err != nil {
		t.Fatal(err)
	}
}

// A disk that is really full: a small tmpfs.
func TestFullDisk(t *testing.T) {
	dir := tinyDisk(t, "256k")
	path := filepath.Join(dir, "ledger.db")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.PutSandbox(sandbox("a", vf1)); err != nil {
		t.Fatal(err)
	}
	big := sandbox("b", vf2)
	big.Attachments[0].Members[0].Config = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	if err := l.PutSandbox(big); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(path); err != nil {
		t.Fatalf("the ledger after the failed put: %v", err)
	}
	defer l.Close()
	if _, ok, _ := l.Sandbox("b"); ok {
		t.Error("the failed put left a record")
	}
	if id, _, _ := l.Holder(vf1); id != "a" {
		t.Errorf("the other sandbox's device: holder %q, want a", id)
	}
	if err := l.DeleteSandbox("a"); err != nil {
		t.Errorf("releasing on a nearly full disk: %v", err)
	}
}
