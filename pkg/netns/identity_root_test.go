//go:build root

package netns_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

func TestNamespacesAreToldApart(t *testing.T) {
	first, second := netnstest.New(t), netnstest.New(t)
	id, err := netns.Identify(first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := netns.Identify(first)
	if err != nil || again != id || !again.Same(id) {
		t.Errorf("the second time it is %v, %v; it was %v", again, err, id)
	}
	other, err := netns.Identify(second)
	if err != nil || other.Same(id) {
		t.Errorf("%s is %v, %v; %s is %v", second, other, err, first, id)
	}
	if host, err := id.Host(); host || err != nil {
		t.Errorf("a pod's namespace is the host's: %v", err)
	}
	netnstest.Remove(t, first)
	if _, err := netns.Identify(first); !netns.IsGone(err) {
		t.Errorf("got %v", err)
	}
}

// reports 22: Open finds a namespace below the root of PID 1 if the agent's own mounts hide it.
func TestNamespacesThatOnlyThe1stProcessSees(t *testing.T) {
	if _, err := os.Stat("/proc/1/root/."); err != nil {
		t.Skip("PID 1 has privileges that this process lacks: ", err)
	}
	path := netnstest.New(t)
	want, err := netns.Identify(path)
	if err != nil {
		t.Fatal(err)
	}
	netns.Apart(func() bool {
		err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount("none", filepath.Dir(path), "tmpfs", 0, ""))
		if err != nil {
			t.Error(err)
			return false
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("it is not hidden: %v", err)
		}
		if got, err := netns.Identify(path); err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		return false
	})
}
