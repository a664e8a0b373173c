package ledger

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// PutAllocations records devices that the kubelet was handed, all or none.
func (l *Ledger) PutAllocations(allocations []Allocation) error {
	return l.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(allocationsBucket)
		for _, a := range allocations {
			raw, err := json.Marshal(a)
			if err != nil {
				return fmt.Errorf("encoding the allocation of %s: %w", a.Device, err)
			}
			if err := bucket.Put([]byte(a.Device.String()), raw); err != nil {
				return err
			}
		}
		return nil
	})
}

// Allocations reads all, in the order of their addresses.
func (l *Ledger) Allocations() ([]Allocation, error) {
	var all []Allocation
	err := l.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(allocationsBucket).ForEach(func(key, raw []byte) error {
			var a Allocation
			if err := decode("allocations", key, raw, &a); err != nil {
				return err
			}
			all = append(all, a)
			return nil
		})
	})
	return all, err
}

// DeleteAllocations removes allocations. One that is not there is no error, and one
// that was made anew since it was read stays.
func (l *Ledger) DeleteAllocations(stale []Allocation) error {
	return l.update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(allocationsBucket)
		for _, a := range stale {
			key := []byte(a.Device.String())
			raw := bucket.Get(key)
			if raw == nil {
				continue
			}
			var now Allocation
			if err := decode("allocations", key, raw, &now); err != nil {
				return err
			}
			if !now.At.Equal(a.At) {
				continue
			}
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}
