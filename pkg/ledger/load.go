package ledger

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"fairlead.dev/fairlead/pkg/quote"
)

// load reads every record once, so that a damaged record is found at the start and not
// during a pod's ADD. On an error the file is unchanged.
func load(db *bolt.DB, path string) (*writer, error) {
	w := newWriter(db)
	err := db.Update(func(tx *bolt.Tx) error {
		if err := prepare(tx, path); err != nil {
			return err
		}
		if err := w.fill(tx); err != nil {
			return damaged(path, err)
		}
		return nil
	})
	return w, describe(err)
}

// prepare makes the buckets and converts a file of format 1.
func prepare(tx *bolt.Tx, path string) error {
	for _, name := range [][]byte{sandboxesBucket, statusesBucket, allocationsBucket, metaBucket} {
		if _, err := tx.CreateBucketIfNotExists(name); errors.Is(err, bolterrors.ErrIncompatibleValue) {
			return damaged(path, fmt.Errorf("%s is no bucket", name))
		} else if err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	switch v := meta.Get(versionKey); {
	case v == nil && !isEmpty(tx):
		return damaged(path, errors.New("it has records and no format version"))
	case v == nil:
		return meta.Put(versionKey, []byte(formatVersion))
	case string(v) == "1":
		err := migrate1(tx)
		if errors.As(err, new(damagedRecord)) {
			return damaged(path, err)
		}
		if err != nil {
			return fmt.Errorf("convert ledger %s from format 1: %w; the file is unchanged: run the agent that wrote it, and delete that pod", path, quote.Bound(err))
		}
	case string(v) != formatVersion:
		return fmt.Errorf("ledger %s has format version %q and this agent knows %q: run the agent that wrote it, or a newer one", path, quote.Cut(string(v)), formatVersion)
	}
	return nil
}

// isEmpty reports a file without records: a new one.
func isEmpty(tx *bolt.Tx) bool {
	for _, name := range [][]byte{sandboxesBucket, statusesBucket, allocationsBucket, metaBucket} {
		if key, _ := tx.Bucket(name).Cursor().First(); key != nil {
			return false
		}
	}
	return true
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
		if a.Device.String() != string(device) {
			return otherKey("allocations", device, a.Device.String())
		}
		w.staged.setAllocation(a.Device, &a)
		w.index.setAllocation(a.Device, &a)
		return nil
	})
}
