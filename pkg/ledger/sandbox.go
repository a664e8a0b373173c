package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/pci"
	bolt "go.etcd.io/bbolt"
)

// ErrNotFound: the ledger has no such sandbox.
var ErrNotFound = errors.New("no such sandbox in the ledger")

// ErrReleasing: the sandbox is being released and cannot be used again.
var ErrReleasing = errors.New("sandbox is being released")

// HeldError says that a device belongs to another sandbox.
type HeldError struct {
	Device    pci.Address
	Sandbox   string
	IfName    string
	Pod       PodRef
	Releasing bool
}

func (e *HeldError) Error() string {
	state := "in use"
	if e.Releasing {
		state = "being released"
	}
	return fmt.Sprintf("device %s is held by pod %s (sandbox %s, interface %s), where it is %s", e.Device, e.Pod, e.Sandbox, e.IfName, state)
}

// holder is a value of the devices bucket.
type holder struct {
	Sandbox string `json:"sandbox"`
	IfName  string `json:"ifName"`
}

// PutSandbox writes a sandbox's record, in place of one it may have. It is
// durable on return. It fails with *HeldError where another sandbox holds one of
// its devices, and then, as on any error, nothing has changed.
func (l *Ledger) PutSandbox(s Sandbox) error {
	return l.update(func(tx *bolt.Tx) error { return putSandbox(tx, s) })
}

// UpdateSandbox changes a record in one transaction. An error of change is
// returned as it is, and nothing is written. change may be called more than once.
func (l *Ledger) UpdateSandbox(id string, change func(*Sandbox) error) error {
	return l.update(func(tx *bolt.Tx) error {
		s, ok, err := getSandbox(tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: %s", ErrNotFound, id)
		}
		if err := change(&s); err != nil {
			return err
		}
		s.ID = id
		return putSandbox(tx, s)
	})
}

// DeleteSandbox removes a record and frees its devices; none is no error.
func (l *Ledger) DeleteSandbox(id string) error {
	return l.update(func(tx *bolt.Tx) error {
		s, ok, err := getSandbox(tx, id)
		if err != nil || !ok {
			return err
		}
		if err := freeDevices(tx, s); err != nil {
			return err
		}
		return tx.Bucket(sandboxesBucket).Delete([]byte(id))
	})
}

// Sandbox reads one record.
func (l *Ledger) Sandbox(id string) (s Sandbox, ok bool, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		s, ok, err = getSandbox(tx, id)
		return err
	})
	return s, ok, err
}

// Sandboxes reads all records, in the order of their ids.
func (l *Ledger) Sandboxes() ([]Sandbox, error) {
	var all []Sandbox
	err := l.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(sandboxesBucket).ForEach(func(key, raw []byte) error {
			var s Sandbox
			if err := decode("sandboxes", key, raw, &s); err != nil {
				return err
			}
			all = append(all, s)
			return nil
		})
	})
	return all, err
}

// Holder tells which sandbox has a device, and as which interface.
func (l *Ledger) Holder(device pci.Address) (sandboxID, ifName string, ok bool) {
	_ = l.db.View(func(tx *bolt.Tx) error {
		var h holder
		if raw := tx.Bucket(devicesBucket).Get([]byte(device.String())); raw != nil && json.Unmarshal(raw, &h) == nil {
			sandboxID, ifName, ok = h.Sandbox, h.IfName, true
		}
		return nil
	})
	return sandboxID, ifName, ok
}

func getSandbox(tx *bolt.Tx, id string) (Sandbox, bool, error) {
	var s Sandbox
	raw := tx.Bucket(sandboxesBucket).Get([]byte(id))
	if raw == nil {
		return s, false, nil
	}
	return s, true, decode("sandboxes", []byte(id), raw, &s)
}

func putSandbox(tx *bolt.Tx, s Sandbox) error {
	if s.ID == "" {
		return fmt.Errorf("a sandbox without an id cannot be recorded")
	}
	old, exists, err := getSandbox(tx, s.ID)
	if err != nil {
		return err
	}
	if exists {
		if old.Releasing && !s.Releasing {
			return fmt.Errorf("%w: %s", ErrReleasing, s.ID)
		}
		if err := freeDevices(tx, old); err != nil {
			return err
		}
	}
	if err := takeDevices(tx, s); err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding sandbox %s: %w", s.ID, err)
	}
	return tx.Bucket(sandboxesBucket).Put([]byte(s.ID), raw)
}

// takeDevices enters the devices that the sandbox still holds into the index. Two
// members of one attachment may have the same device.
func takeDevices(tx *bolt.Tx, s Sandbox) error {
	index := tx.Bucket(devicesBucket)
	for _, h := range s.Holdings() {
		if h.Device.IsZero() {
			continue
		}
		key := []byte(h.Device.String())
		entry, err := json.Marshal(holder{Sandbox: s.ID, IfName: h.IfName})
		if err != nil {
			return err
		}
		if raw := index.Get(key); raw != nil && !bytes.Equal(raw, entry) {
			return heldError(tx, h.Device, raw)
		}
		if err := index.Put(key, entry); err != nil {
			return err
		}
	}
	return nil
}

func heldError(tx *bolt.Tx, device pci.Address, raw []byte) error {
	var h holder
	if err := decode("devices", []byte(device.String()), raw, &h); err != nil {
		return err
	}
	e := &HeldError{Device: device, Sandbox: h.Sandbox, IfName: h.IfName}
	if s, ok, err := getSandbox(tx, h.Sandbox); err == nil && ok {
		e.Pod, e.Releasing = s.Pod, s.Releasing
	}
	return e
}

// freeDevices removes the sandbox's own entries, and no other's, from the index.
func freeDevices(tx *bolt.Tx, s Sandbox) error {
	index := tx.Bucket(devicesBucket)
	for _, held := range s.Holdings() {
		if held.Device.IsZero() {
			continue
		}
		key := []byte(held.Device.String())
		var h holder
		raw := index.Get(key)
		if raw == nil {
			continue
		}
		if err := decode("devices", key, raw, &h); err != nil {
			return err
		}
		if h.Sandbox == s.ID {
			if err := index.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}
