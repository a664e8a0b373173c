package ledger

import (
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// ErrReleasing: the sandbox is being released and cannot be used again.
var ErrReleasing = errors.New("sandbox is being released")

// PutSandbox writes a sandbox's record, or replaces it. The record is durable on return.
// If the sandbox takes a device or uplink of somebody else, the error is *HeldError,
// *AllocatedError or *UplinkError. On any error nothing has changed.
func (l *Ledger) PutSandbox(s Sandbox) error {
	e, raw, err := encode(s)
	if err != nil {
		return err
	}
	return l.w.update(func(b *batch) error {
		if err := b.index.checkSandbox(b.index.sandboxes[s.ID], e); err != nil {
			return err
		}
		return b.put(e, raw)
	})
}

// encode returns the record as it is stored, without the status, which has a bucket of
// its own.
func encode(s Sandbox) (*entry, []byte, error) {
	if s.ID == "" {
		return nil, nil, errors.New("record a sandbox: it has no id")
	}
	e := newEntry(s)
	s.Status = nil
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, nil, fmt.Errorf("encode sandbox %s: %w", s.ID, err)
	}
	return e, raw, nil
}

// StatusWritten removes a network-status document from the sandbox's record, because it
// is on the pod. Readers see that at once. It becomes durable with the next change or at
// Close. After a crash the same status is written to the pod once more.
func (l *Ledger) StatusWritten(id string, status []byte) { l.w.statusWritten(id, status) }

// DeleteSandbox removes a record and frees its devices. A missing record is not an error.
func (l *Ledger) DeleteSandbox(id string) error {
	return l.w.update(func(b *batch) error { return b.delete(id) })
}

// Sandbox reads one record.
func (l *Ledger) Sandbox(id string) (s Sandbox, ok bool, err error) {
	written := l.w.writtenStatus(id)
	err = l.w.db.View(func(tx *bolt.Tx) error {
		raw := tx.Bucket(sandboxesBucket).Get([]byte(id))
		if raw == nil {
			return nil
		}
		ok = true
		s, err = decodeSandbox(tx, []byte(id), raw)
		return err
	})
	if string(s.Status) == string(written) {
		s.Status = nil
	}
	return s, ok, err
}

// Sandboxes reads all records, in the order of their ids. It decodes all of them, so a
// loop should use Entries.
func (l *Ledger) Sandboxes() (all []Sandbox, err error) {
	err = l.w.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(sandboxesBucket).ForEach(func(id, raw []byte) error {
			s, err := decodeSandbox(tx, id, raw)
			if string(s.Status) == string(l.w.writtenStatus(s.ID)) {
				s.Status = nil
			}
			all = append(all, s)
			return err
		})
	})
	return all, err
}

func decodeSandbox(tx *bolt.Tx, id, raw []byte) (s Sandbox, err error) {
	if err := decode("sandboxes", id, raw, &s); err != nil {
		return s, err
	}
	if s.ID != string(id) {
		return s, otherKey("sandboxes", id, s.ID)
	}
	if status := tx.Bucket(statusesBucket).Get(id); len(status) > 0 {
		if !json.Valid(status) {
			return s, fmt.Errorf("record %q of statuses is not JSON", id)
		}
		s.Status = append(json.RawMessage(nil), status...) // the file's memory is not ours
	}
	return s, nil
}
