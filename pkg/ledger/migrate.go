package ledger

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// devicesBucket is the index of devices in format 1.
var devicesBucket = []byte("devices")

// damagedRecord is the error of a record that cannot be read.
type damagedRecord struct{ error }

// migrate1 converts a file of format 1 in the caller's transaction, so that a crash leaves
// one format or the other. Allocations and the boot id are the same in both.
func migrate1(tx *bolt.Tx) error {
	bucket := tx.Bucket(sandboxesBucket)
	var all []Sandbox // a bucket must not be changed while it is walked
	err := bucket.ForEach(func(id, raw []byte) error {
		var old sandbox1
		if err := decode("sandboxes", id, raw, &old); err != nil {
			return damagedRecord{err}
		}
		if old.ID != string(id) {
			return damagedRecord{otherKey("sandboxes", id, old.ID)}
		}
		s, err := old.convert()
		all = append(all, s)
		if err != nil {
			return fmt.Errorf("sandbox %s of pod %s: %w", old.ID, old.Pod, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range all {
		_, raw, err := encode(s)
		if err != nil {
			return err
		}
		if err := bucket.Put([]byte(s.ID), raw); err != nil {
			return err
		}
		if len(s.Status) > 0 {
			if err := tx.Bucket(statusesBucket).Put([]byte(s.ID), s.Status); err != nil {
				return err
			}
		}
	}
	if err := tx.DeleteBucket(devicesBucket); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
		return err
	}
	return tx.Bucket(metaBucket).Put(versionKey, []byte(formatVersion))
}
