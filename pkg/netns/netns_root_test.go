//go:build root

package netns_test

import (
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

func TestWithVisitsAndReturns(t *testing.T) {
	home, pods := inode(t, "/proc/self/ns/net"), []string{netnstest.New(t), netnstest.New(t)}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			path := pods[i%2]
			want := inode(t, path)
			err := netns.With(path, func() error {
				if got := inode(t, "/proc/thread-self/ns/net"); got != want {
					return fmt.Errorf("inside is %s, want %s", got, want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Every thread that is left has come home. Those that made the namespaces end
	// by themselves; they are looked at again until they have.
	var astray []string
	for range 500 {
		if astray = threadsOutside(t, home); len(astray) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("threads %v are left in another namespace", astray)
}

func threadsOutside(t *testing.T, home string) []string {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var astray []string
	for _, thread := range threads {
		var st unix.Stat_t
		err := unix.Stat("/proc/self/task/"+thread.Name()+"/ns/net", &st)
		if err == nil && fmt.Sprint(st.Ino) != home { // an error: it ended meanwhile
			astray = append(astray, thread.Name())
		}
	}
	return astray
}

func TestANamespaceThatEndedIsGone(t *testing.T) {
	path := netnstest.New(t)
	if err := netns.With(path, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	netnstest.Remove(t, path)
	if err := netns.With(path, func() error { return nil }); !netns.IsGone(err) {
		t.Errorf("got %v, want one that IsGone knows", err)
	}
}

func inode(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Error(err)
	}
	return fmt.Sprint(st.Ino)
}
