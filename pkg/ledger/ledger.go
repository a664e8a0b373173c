// Package ledger is the agent's journal on disk: which sandbox has which
// attachments, which devices they hold and how those were before, and which
// devices the kubelet was handed. A call that changes it returns when the change
// is durable.
//
// It refuses what would give one device to two: a sandbox does not get a device of
// another sandbox, of the kubelet, or with another pod's links on it. It decides
// nothing else: package sandbox decides when a sandbox is released, and how.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"fairlead.dev/fairlead/pkg/host/file"
)

// formatVersion is the version of the buckets and records, in the bucket meta.
const formatVersion = "2"

// lockWait is how long Open waits for the file's lock: a predecessor that is
// shutting down needs a moment.
const lockWait = 5 * time.Second

var (
	sandboxesBucket   = []byte("sandboxes")   // sandbox id → Sandbox, without Status
	statusesBucket    = []byte("statuses")    // sandbox id → Sandbox.Status
	allocationsBucket = []byte("allocations") // device address → Allocation
	metaBucket        = []byte("meta")        // "version" → formatVersion, "boot" → the boot id
	versionKey        = []byte("version")
)

// Errors for errors.Is.
var (
	// ErrLocked: another process has the ledger open.
	ErrLocked = errors.New("ledger is locked")
	// ErrDamaged: the file cannot be read as a ledger.
	ErrDamaged = errors.New("ledger is damaged")
	// ErrFull: the disk has no room for the change; nothing was changed.
	ErrFull = errors.New("no space for the ledger")
)

// Ledger is an open ledger file. Its methods may be called from several
// goroutines; the file is locked against other processes.
type Ledger struct{ w *writer }

// Open opens the ledger file. It makes the file and its directory if they are missing,
// and rewrites a file of the last format in today's.
// A damaged file is left as it is and reported: its records are all that is
// known about the VFs that pods hold, so only the administrator puts it aside.
func Open(path string) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the ledger's directory: %w", err)
	}
	_, statErr := os.Stat(path)
	l, err := open(path, lockWait)
	if err != nil {
		return nil, err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := file.SyncDir(filepath.Dir(path)); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// open turns the faults of a damaged file into errors. bbolt maps the file into
// memory and trusts its page numbers: a wrong one is a panic, one beyond the end
// of the file a SIGBUS.
func open(path string, wait time.Duration) (l *Ledger, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			l, err = nil, damaged(path, fmt.Errorf("%v", r))
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: wait, FreelistType: bolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is held by another process: is a second agent running on this node? Stop it, then start this one again", ErrLocked, path)
	case errors.As(err, new(syscall.Errno)):
		return nil, fmt.Errorf("open the ledger %s: %w", path, describe(err))
	case err != nil: // bbolt's own objections are all to the file's content
		return nil, damaged(path, err)
	}
	w, err := load(db, path)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	go w.run() // until Close
	return &Ledger{w}, nil
}

func damaged(path string, cause error) error {
	return fmt.Errorf("%w: %s: %w; its records say which VFs pods hold and how to restore them, so it is not replaced by itself: "+
		"restore the file from a backup, or drain the node, move the file aside (mv %[2]s %[2]s.damaged) and start the agent again", ErrDamaged, path, cause)
}

// Boot says which boot of the node this is, by the kernel's boot id. If the node has
// rebooted, the records no longer describe the kernel: no container from before is
// running, so no allocation is valid, and every VF is fresh and unconfigured. The
// sandboxes stay, marked EarlierBoot, for the addresses that they hold. Their VFs count
// as returned: their release touches no VF, whoever has it by then (cni#219). Only a
// plugin that is a program touches the VF of its config all the same: nobody else gets
// that VF before the release.
func (l *Ledger) Boot(id string) (rebooted bool, err error) {
	err = l.w.update(func(b *batch) (err error) {
		rebooted, err = b.setBoot(id)
		return err
	})
	return rebooted, err
}

// Close writes changes that are still only noted (StatusWritten), and releases the file.
func (l *Ledger) Close() error { return l.w.close() }

// describe marks the errors that a full disk causes.
func describe(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return fmt.Errorf("%w: %w; nothing was changed: free space in the agent's state directory", ErrFull, err)
	}
	return err
}

func decode(what string, key, raw []byte, to any) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("record %q of %s: %w", key, what, err)
	}
	return nil
}
