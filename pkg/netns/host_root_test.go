//go:build root

package netns

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// reports 22: the agent sees a namespace through the root of PID 1, whose /var/run may be a
// symbolic link.
func TestOpenBelowAnotherRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "run", "netns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/run", filepath.Join(root, "var", "run")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "run", "netns", "cni-reports-22")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const path = "/var/run/netns/cni-reports-22"
	if _, ok := openBelow(root, path); ok {
		t.Error("a plain file is taken for a namespace")
	}
	if err := unix.Mount("/proc/self/ns/net", file, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })
	ns, ok := openBelow(root, path)
	if !ok {
		t.Fatal("not found")
	}
	defer ns.Close()
	got, err := fileID(int(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if want, err := Identify("/proc/self/ns/net"); err != nil || got != want {
		t.Errorf("got %v, want %v, %v", got, want, err)
	}
	if _, ok := openBelow(root, "/var/run/netns/none"); ok {
		t.Error("there is no such namespace")
	}
}
