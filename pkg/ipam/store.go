package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/retry"
)

const (
	// lockWait bounds the wait for a network's lock if the caller sets no deadline.
	lockWait = 30 * time.Second
	// firstPause and longestPause bound the pauses between two tries for the lock.
	firstPause   = 500 * time.Microsecond
	longestPause = 10 * time.Millisecond
)

// store is a network's directory, locked on behalf of one interface. It implements the
// stock plugin's backend.Store. The stock store reads and writes the files. It does not
// search for the interface's own files, because it would read all files each time.
type store struct {
	dir   string
	lock  *os.File
	files *disk.Store
	owner owner
	tried []net.IP // addresses for which Reserve may have left a file
}

// openStore makes the network's directory and takes its lock.
func openStore(ctx context.Context, p pool, args Args) (*store, error) {
	files, err := disk.New(p.name, p.dataDir)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, p.dir())
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return &store{dir: p.dir(), lock: lock, files: files, owner: owner{args.SandboxID, args.IfName}}, nil
}

// lockDir takes the lock that the stock plugin takes: an flock of the file "lock".
// It polls, because a wait in the kernel could not be ended if a stock plugin hangs.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o750)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

func flock(ctx context.Context, f *os.File) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lockWait)
		defer cancel()
	}
	pause := retry.Backoff{First: firstPause, Max: longestPause}
	for tries := 1; ; tries++ {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return err
		}
		if err := retry.Sleep(ctx, pause.After(tries)); err != nil {
			return fmt.Errorf("another process holds it (a host-local plugin that hangs? see /proc/locks): %w", err)
		}
	}
}

// Close releases the lock.
func (s *store) Close() error { return errors.Join(s.files.Close(), s.lock.Close()) }

// Lock does nothing, because the store is locked from openStore to Close.
func (s *store) Lock() error { return nil }

// Unlock does nothing, like Lock.
func (s *store) Unlock() error { return nil }

// Reserve creates the file of an address, unless the file exists.
func (s *store) Reserve(id, ifName string, ip net.IP, rangeID string) (bool, error) {
	reserved, err := s.files.Reserve(id, ifName, ip, rangeID)
	if reserved || err != nil {
		s.tried = append(s.tried, ip)
	}
	return reserved, err
}

// LastReservedIP returns the address after which the search continues.
func (s *store) LastReservedIP(rangeID string) (net.IP, error) {
	return s.files.LastReservedIP(rangeID)
}

// GetByID returns no address: hostLocal.add has already checked that the interface holds no
// address, and each range set is asked once.
func (s *store) GetByID(string, string) []net.IP { return nil }

// ReleaseByID releases the owner's addresses. The allocator does not call it.
func (s *store) ReleaseByID(string, string) error { return s.release(nil) }

// held returns the owner's addresses. If some of them are in known, it reads no other
// files.
func (s *store) held(known []net.IP) ([]net.IP, error) {
	if ips, err := s.owned(known); err != nil || len(ips) > 0 {
		return ips, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var all []net.IP
	for _, e := range entries {
		if ip := net.ParseIP(e.Name()); ip != nil && !e.IsDir() {
			all = append(all, ip)
		}
	}
	return s.owned(all)
}

// owned returns the addresses of ips whose file names the owner.
func (s *store) owned(ips []net.IP) ([]net.IP, error) {
	var own []net.IP
	for _, ip := range ips {
		content, err := os.ReadFile(s.path(ip))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s.owner.wrote(content) {
			own = append(own, ip)
		}
	}
	return own, nil
}

// release removes the owner's files, and returns an error if one cannot be removed. The
// stock store ignores that (m#1239), and such an address leaks unnoticed.
func (s *store) release(known []net.IP) error {
	ips, err := s.held(known)
	if err != nil {
		return fmt.Errorf("look for addresses of sandbox %s %s: %w", s.owner.sandboxID, s.owner.ifName, err)
	}
	return s.remove(ips)
}

// rollBack removes the files that Reserve has left.
func (s *store) rollBack() error {
	ips, err := s.owned(s.tried)
	return errors.Join(err, s.remove(ips))
}

func (s *store) remove(ips []net.IP) error {
	var errs []error
	for _, ip := range ips {
		if err := os.Remove(s.path(ip)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("release address %s: %w", ip, err))
		}
	}
	return errors.Join(errs...)
}

func (s *store) path(ip net.IP) string { return disk.GetEscapedPath(s.dir, ip.String()) }

// owner is the key under which addresses are allocated.
type owner struct{ sandboxID, ifName string }

// wrote reports whether a file's content names the owner. Old versions of the stock plugin
// wrote only the sandbox's id.
func (o owner) wrote(content []byte) bool {
	text, id := strings.TrimSpace(string(content)), strings.TrimSpace(o.sandboxID)
	return text == id || text == id+disk.LineBreak+o.ifName
}
