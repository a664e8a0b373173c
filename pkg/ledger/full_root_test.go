//go:build root

package ledger

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that is really full: a small tmpfs.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
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
