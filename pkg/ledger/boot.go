package ledger

import (
	"maps"
	"slices"
)

const pluginBinary = "binary" // Member.Plugin of plugins that are executed

var bootKey = []byte("boot") // in the bucket meta: the kernel's boot id at the time of the records

// setBoot is Ledger.Boot in a batch.
func (b *batch) setBoot(id string) (rebooted bool, err error) {
	meta := b.tx.Bucket(metaBucket)
	last := string(meta.Get(bootKey))
	if last == id {
		return false, nil
	}
	b.writes++
	if last != "" {
		rebooted = true
		if err := b.forgetBoot(); err != nil {
			return false, err
		}
	}
	return rebooted, meta.Put(bootKey, []byte(id))
}

func (b *batch) forgetBoot() error {
	for device := range maps.Clone(b.index.allocations) {
		if err := b.deleteAllocation(device); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.index.sandboxes)) {
		s, err := decodeSandbox(b.tx, []byte(id), b.tx.Bucket(sandboxesBucket).Get([]byte(id)))
		if err != nil {
			return err
		}
		s.EarlierBoot = true
		for _, a := range s.Attachments {
			for i, m := range a.Members {
				a.Members[i].DeviceReturned = m.DeviceReturned || !m.Device.IsZero() && m.Plugin != pluginBinary
			}
		}
		e, raw, err := encode(s)
		if err != nil {
			return err
		}
		if err := b.put(e, raw); err != nil {
			return err
		}
	}
	return nil
}
