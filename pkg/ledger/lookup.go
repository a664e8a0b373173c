package ledger

import (
	bolt "go.etcd.io/bbolt"

	"fairlead.dev/fairlead/pkg/pci"
)

// Allocation reads the allocation of one device.
func (l *Ledger) Allocation(device pci.Address) (a Allocation, ok bool, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		key := []byte(device.String())
		raw := tx.Bucket(allocationsBucket).Get(key)
		if ok = raw != nil; !ok {
			return nil
		}
		return decode("allocations", key, raw, &a)
	})
	return a, ok, err
}
