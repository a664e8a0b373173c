package ledger

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// load reads every record once, so that a damaged one is found at start and not in a
// pod's way.
func load(db *bolt.DB, path string) (*writer, error) {
	if err := db.Update(func(tx *bolt.Tx) error { return prepare(tx, path) }); err != nil {
		return nil, describe(err)
	}
	w := &writer{db: db, turn: make(chan struct{}, 1), staged: newIndex(), index: newIndex(), written: map[string]json.RawMessage{}, watchers: watchers{all: map[*watcher]struct{}{}}}
	if err := db.View(w.fill); err != nil {
		return nil, damaged(path, err)
	}
	return w, nil
}

// prepare makes the buckets.
func prepare(tx *bolt.Tx, path string) error {
	for _, name := range [][]byte{sandboxesBucket, statusesBucket, allocationsBucket, metaBucket} {
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
}

// fill reads the records into both indexes.
func (w *writer) fill(tx *bolt.Tx) error {
	err := tx.Bucket(sandboxesBucket).ForEach(func(id, raw []byte) error {
		s, err := decodeSandbox(tx, id, raw)
		if err != nil {
			return err
		}
		e := newEntry(s)
		w.staged.setSandbox(s.ID, e)
		w.index.setSandbox(s.ID, e)
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(allocationsBucket).ForEach(func(device, raw []byte) error {
		var a Allocation
		if err := decode("allocations", device, raw, &a); err != nil {
			return err
		}
		w.staged.setAllocation(a.Device, &a)
		w.index.setAllocation(a.Device, &a)
		return nil
	})
}
