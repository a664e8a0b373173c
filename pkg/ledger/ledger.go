// Package ledger is the agent's journal on disk: which sandbox has which
// attachments, which devices they hold and how those were before, and which
// devices the kubelet was handed. A call that changes it returns when the change
// is durable.
//
// It decides nothing: when a sandbox is released, and how, is package cni's
// matter. The one rule it holds is that no two sandboxes have the same device.
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
)

// formatVersion is the version of the buckets and records, in the bucket meta.
const formatVersion = "2"

// lockWait is how long Open waits for the file's lock: a predecessor that is
// shutting down needs a moment.
const lockWait = 5 * time.Second

var (
	sandboxesBucket   = []byte("sandboxes")   // sandbox id → Sandbox
	devicesBucket     = []byte("devices")     // device address → holder; kept with sandboxes in one transaction
	allocationsBucket = []byte("allocations") // device address → Allocation
	metaBucket        = []byte("meta")        // "version" → formatVersion, "boot" → the boot id
	versionKey        = []byte("version")
)

// Errors that callers tell apart.
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
type Ledger struct {
	writer
}

// Open opens the ledger file, and makes it and its directory where missing.
// A damaged file is left as it is and reported: its records are all that is
// known about the VFs that pods hold, so only the administrator puts it aside.
func Open(path string) (*Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the ledger's directory: %w", err)
	}
	_, statErr := os.Stat(path)
	l, err := open(path, lockWait)
	if err != nil {
		return nil, err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := syncDir(filepath.Dir(path)); err != nil {
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
		return nil, fmt.Errorf("opening the ledger %s: %w", path, describe(err))
	case err != nil: // bbolt's own objections are all to the file's content
		return nil, damaged(path, err)
	}
	l = &Ledger{writer{db: db}}
	if err := l.prepare(path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

func damaged(path string, cause error) error {
	return fmt.Errorf("%w: %s: %w; its records tell which VFs pods hold and how to restore them, so it is not replaced by itself: "+
		"restore the file from a backup, or drain the node, move the file aside (mv %[2]s %[2]s.damaged) and start the agent again", ErrDamaged, path, cause)
}

// prepare makes the buckets and reads every record once, so that a damaged one
// is found at start and not in a pod's way.
func (l *Ledger) prepare(path string) error {
	err := l.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{sandboxesBucket, devicesBucket, allocationsBucket, metaBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		switch v := meta.Get(versionKey); {
		case v == nil:
			return meta.Put(versionKey, []byte(formatVersion))
		case string(v) != formatVersion:
			return fmt.Errorf("ledger %s has format version %q and this agent knows %q: run the agent that wrote it, or a newer one", path, v, formatVersion)
		}
		return nil
	})
	if err != nil {
		return describe(err)
	}
	if _, err := l.Sandboxes(); err != nil {
		return damaged(path, err)
	}
	if _, err := l.Allocations(); err != nil {
		return damaged(path, err)
	}
	return nil
}

// Close releases the file.
func (l *Ledger) Close() error { return l.db.Close() }

// describe marks the errors that a full disk causes.
func describe(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return fmt.Errorf("%w: %w; nothing was changed: free space in the agent's state directory", ErrFull, err)
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func decode(what string, key, raw []byte, to any) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("record %q of %s: %w", key, what, err)
	}
	return nil
}
