package ledger

import (
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

const pluginBinary = "binary" // Member.Plugin of plugins that are programs

var bootKey = []byte("boot") // in the bucket meta: the kernel's boot id that the records are of

// Boot tells the ledger which boot of the node this is, by the kernel's boot id. In
// another one than before (rebooted), what the records say of the kernel's state is
// over: no allocation stands, since no container of then runs, and VFs are new ones
// that no network has changed. The sandboxes stay, marked EarlierBoot, for the
// addresses that they have. Their VFs are back, so that their release touches none,
// whoever has it then (cni#219). Only a plugin that is a program touches the VF of
// its config all the same: until its release, nobody else gets that VF.
func (l *Ledger) Boot(id string) (rebooted bool, err error) {
	err = l.update(func(tx *bolt.Tx) error {
		rebooted = false
		meta := tx.Bucket(metaBucket)
		last := string(meta.Get(bootKey))
		if last == id {
			return nil
		}
		if last != "" {
			rebooted = true
			if err := forgetBoot(tx); err != nil {
				return err
			}
		}
		return meta.Put(bootKey, []byte(id))
	})
	return rebooted, err
}

func forgetBoot(tx *bolt.Tx) error {
	if err := tx.DeleteBucket(allocationsBucket); err != nil {
		return err
	}
	if _, err := tx.CreateBucket(allocationsBucket); err != nil {
		return err
	}
	bucket := tx.Bucket(sandboxesBucket)
	records := map[string][]byte{} // a bucket is not to be changed while it is walked
	err := bucket.ForEach(func(key, raw []byte) error {
		var s Sandbox
		if err := decode("sandboxes", key, raw, &s); err != nil {
			return err
		}
		if err := freeDevices(tx, s); err != nil {
			return err
		}
		s.EarlierBoot = true
		for _, a := range s.Attachments {
			for i, m := range a.Members {
				a.Members[i].DeviceReturned = m.DeviceReturned || !m.Device.IsZero() && m.Plugin != pluginBinary
			}
		}
		if err := takeDevices(tx, s); err != nil {
			return err
		}
		raw, err := json.Marshal(s)
		if err != nil {
			return fmt.Errorf("encoding sandbox %s: %w", s.ID, err)
		}
		records[string(key)] = raw
		return nil
	})
	if err != nil {
		return err
	}
	for key, raw := range records {
		if err := bucket.Put([]byte(key), raw); err != nil {
			return err
		}
	}
	return nil
}
