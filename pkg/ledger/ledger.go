// Package ledger is the agent's journal on disk. It records the attachments of each
// sandbox, the devices that they hold, the original state of these devices, and the
// devices that the kubelet got. A call that changes the ledger returns when the change is
// durable.
//
// The ledger refuses to give one device to two users: a sandbox does not get a device of
// another sandbox, of the kubelet, or one with another pod's links on it. It decides
// nothing else: package sandbox decides when and how a sandbox is released.
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
	"fairlead.dev/fairlead/pkg/quote"
)

// formatVersion is the version of the buckets and records, in the bucket meta.
const formatVersion = "2"

// lockWait bounds Open's wait for the file's lock. An earlier agent that is shutting
// down needs a moment.
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
// and converts a file of the last format.
//
// A damaged file is an error and stays as it is. Only its records say which VFs pods hold,
// so Open does not replace it. That is for the administrator to decide.
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

// open turns the faults of a damaged file into errors. The file is checked before bbolt
// maps it (checkPages). If it is damaged later, bbolt panics, or a read is a SIGBUS.
func open(path string, wait time.Duration) (l *Ledger, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			l, err = nil, damaged(path, fmt.Errorf("%v", r))
		}
	}()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: wait, FreelistType: bolt.FreelistMapType, OpenFile: checkedFile(wait)})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is held by another process: is a second agent running on this node? Stop it, then start this one again", ErrLocked, path)
	case errors.As(err, new(syscall.Errno)):
		return nil, fmt.Errorf("open the ledger %s: %w", path, describe(err))
	case err != nil: // bbolt's own errors are all about the file's content
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
	return fmt.Errorf("%w: %s: %w; its records say which VFs pods hold and how to restore them, so the agent does not replace it: "+
		"restore the file from a backup, or drain the node, move the file aside (mv %[2]s %[2]s.damaged) and start the agent again", ErrDamaged, path, quote.Bound(cause))
}

// Boot records the kernel's boot id, and reports whether the node has rebooted. If it
// has, the records no longer describe the kernel: no container from before is running, so
// no allocation is valid, and every VF is fresh and unconfigured.
//
// The sandboxes stay, marked EarlierBoot, because they still hold IP addresses. Their VFs
// count as returned, so that a release does not touch the VF of a new pod (cni#219). The
// exception is a plugin binary, whose DEL touches the VF of its config anyway: nobody else
// gets that VF before the release.
func (l *Ledger) Boot(id string) (rebooted bool, err error) {
	err = l.w.update(func(b *batch) (err error) {
		rebooted, err = b.setBoot(id)
		return err
	})
	return rebooted, err
}

// Close writes the changes that are not yet durable (StatusWritten), and releases the
// file.
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

// otherKey is the error of a record that lies under another key than its own: a change of
// it would make a second record.
func otherKey(what string, key []byte, own string) error {
	return fmt.Errorf("record %q of %s is that of %q", key, what, own)
}
