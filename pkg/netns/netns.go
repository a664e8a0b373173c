// Package netns runs functions in another network namespace, and tells namespaces
// apart: whether one still exists, and whether a path still leads to it.
//
// It makes no namespaces and removes none: that is for the container runtime. Netlink
// works by file descriptor (pkg/link) and needs no thread inside a namespace. Sysctls,
// raw sockets, ioctls, and the opening of any socket do need one.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// NS is an open network namespace. While it is open the kernel keeps the
// namespace alive, with all links in it: close it before waiting for its end.
type NS struct {
	file *os.File
}

// Open opens the namespace at path (/run/netns/…, /proc/PID/ns/net). The path is the host's.
// If the agent does not see it, Open looks below the root of PID 1, which is the host's with hostPID.
// IsGone reports whether an error means that there is no namespace any more, IsHidden whether its
// directory is not there at all.
func Open(path string) (*NS, error) {
	ns, err := open(path)
	if IsGone(err) && path != "" {
		if file, ok := openBelow(hostRoot, path); ok {
			return &NS{file: file}, nil
		}
	}
	return ns, err
}

func open(path string) (*NS, error) {
	if path == "" {
		return nil, &goneError{path: path, err: fs.ErrNotExist}
	}
	file, err := os.Open(path)
	switch {
	// ESRCH: the process of a /proc path has ended between look-up and open.
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH):
		if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(path, "/proc/") {
			return nil, &goneError{path: path, err: errHidden}
		}
		return nil, &goneError{path: path, err: fs.ErrNotExist}
	case err != nil:
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if !isNamespace(file) {
		file.Close()
		// A bind mount that was unmounted leaves a plain, empty file.
		return nil, &goneError{path: path, err: errNotMounted}
	}
	return &NS{file: file}, nil
}

// Current opens the namespace of the calling thread.
func Current() (*NS, error) { return Open("/proc/thread-self/ns/net") }

// With runs fn inside the namespace at path; see NS.Do.
func With(path string, fn func() error) error {
	ns, err := Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(fn)
}

// FD is the namespace's file descriptor, valid until Close.
func (n *NS) FD() int { return int(n.file.Fd()) }

// Close gives the namespace up.
func (n *NS) Close() error { return n.file.Close() }

// Do runs fn on a thread inside the namespace and waits for it. Goroutines that
// fn starts are outside. The caller's own thread never moves; a thread that
// cannot return to where it came from is thrown away.
func (n *NS) Do(fn func() error) error {
	var err error
	Apart(func() (atHome bool) {
		atHome, err = n.visit(fn)
		return atHome
	})
	return err
}

func (n *NS) visit(fn func() error) (atHome bool, err error) {
	home, err := Current()
	if err != nil {
		return true, err
	}
	defer home.Close()
	if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("enter network namespace %s: %w", n.file.Name(), err)
	}
	err = fn()
	return unix.Setns(home.FD(), unix.CLONE_NEWNET) == nil, err
}

// IsGone reports whether err, from this package, says that the namespace does
// not exist any more.
func IsGone(err error) bool {
	var gone *goneError
	return errors.As(err, &gone)
}

// IsHidden reports whether err says that not even the directory of the namespace's path exists:
// it may exist on the host, where the agent does not see it (reports 22).
func IsHidden(err error) bool { return errors.Is(err, errHidden) }

var (
	errNotMounted = errors.New("the file is no mounted namespace")
	errReplaced   = errors.New("another namespace is mounted there now")
	errHidden     = errors.New("its directory does not exist for the agent")
)

type goneError struct {
	path string
	err  error
}

func (e *goneError) Error() string {
	return fmt.Sprintf("network namespace %q is gone: %v", e.path, e.err)
}

func (e *goneError) Unwrap() error { return e.err }

func isNamespace(file *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &st); err != nil {
		return false
	}
	return st.Type == unix.NSFS_MAGIC
}
