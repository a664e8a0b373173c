// Package netnstest makes network namespaces for tests that run as root. They
// vanish with the test.
package netnstest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// New makes an empty network namespace and returns its path.
func New(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	made := make(chan error)
	go unshare(path, made)
	if err := <-made; err != nil {
		t.Fatalf("make a network namespace (needs CAP_SYS_ADMIN): %v", err)
	}
	t.Cleanup(func() { Remove(t, path) })
	return path
}

// unshare sacrifices its thread: it is locked and never unlocked, so that it ends
// with the goroutine. The main thread cannot end; it waits while another does it.
func unshare(path string, made chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		other := make(chan error)
		go unshare(path, other)
		made <- <-other
		return
	}
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	}
	made <- err
}

// Remove ends a namespace before its test does, as a runtime does with a dead
// pod's: the path remains as an empty file. Once more is no error.
func Remove(t testing.TB, path string) {
	t.Helper()
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		t.Errorf("unmount %s: %v", path, err)
	}
}
