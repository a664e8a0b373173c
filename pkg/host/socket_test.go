package host

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Harden: whatever the umask is, the sockets of the agent are never open to others, not even
// between their creation and chmod.
func TestListenUnixIsForRootFromTheBeginning(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	if err := watcher.Add(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second takes the place of the first
		l, err := ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %v, %v", info.Mode(), err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the socket: %v, %v", entries, err)
	}
	onlyRenamed(t, watcher, path, 2)
}

// onlyRenamed waits until the socket has appeared the given number of times, and fails if
// another one was created in the directory, which everybody may enter.
func onlyRenamed(t *testing.T, w *fsnotify.Watcher, socket string, times int) {
	t.Helper()
	for times > 0 {
		select {
		case e := <-w.Events:
			if !e.Has(fsnotify.Create) {
				continue
			}
			if e.Name == socket {
				times--
			} else if !strings.HasPrefix(filepath.Base(e.Name), ".") {
				t.Errorf("%s was created in the open directory", e.Name)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the socket has still to appear %d times", times)
		}
	}
}

func TestListenUnixNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "a.sock")
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "listen on "+path) {
		t.Errorf("got %v", err)
	}
}
