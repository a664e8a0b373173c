package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"fairlead.dev/fairlead/pkg/pci"
)

// batch is a transaction of the file. It makes the same changes to the index.
type batch struct {
	tx     *bolt.Tx
	index  *index // has the changes of this batch already
	edits  []edit
	writes int // changes of the file or the index so far
}

// edit is one change of the index: of a sandbox's entry, or of an allocation.
type edit struct {
	sandbox string      // empty: device
	device  pci.Address // of the allocation

	oldEntry, newEntry           *entry      // nil: no entry
	oldAllocation, newAllocation *Allocation // nil: no allocation
}

func (e edit) apply(x *index) {
	if e.sandbox != "" {
		x.setSandbox(e.sandbox, e.newEntry)
	} else {
		x.setAllocation(e.device, e.newAllocation)
	}
}

func (e edit) reverse() edit {
	e.oldEntry, e.newEntry = e.newEntry, e.oldEntry
	e.oldAllocation, e.newAllocation = e.newAllocation, e.oldAllocation
	return e
}

// revert undoes the batch's changes of the index.
func (b *batch) revert() {
	for len(b.edits) > 0 {
		last := len(b.edits) - 1
		b.edits[last].reverse().apply(b.index)
		b.edits = b.edits[:last]
	}
}

// edit changes the index, before the file is changed. It counts as a write, so that a
// later failure rolls the batch back.
func (b *batch) edit(e edit) {
	b.writes++
	b.edits = append(b.edits, e)
	e.apply(b.index)
}

// put writes the record of e. Raw is the sandbox without its status.
func (b *batch) put(e *entry, raw []byte) error {
	b.edit(edit{sandbox: e.ID, oldEntry: b.index.sandboxes[e.ID], newEntry: e})
	if err := b.putStatus(e.ID, e.status); err != nil {
		return err
	}
	return b.tx.Bucket(sandboxesBucket).Put([]byte(e.ID), raw)
}

func (b *batch) putStatus(id string, status json.RawMessage) error {
	if len(status) == 0 {
		return b.tx.Bucket(statusesBucket).Delete([]byte(id))
	}
	return b.tx.Bucket(statusesBucket).Put([]byte(id), status)
}

// delete removes a record, if there is one.
func (b *batch) delete(id string) error {
	old := b.index.sandboxes[id]
	if old == nil {
		return nil
	}
	b.edit(edit{sandbox: id, oldEntry: old})
	if err := b.putStatus(id, nil); err != nil {
		return err
	}
	return b.tx.Bucket(sandboxesBucket).Delete([]byte(id))
}

// putAllocation writes an allocation. It replaces an earlier one of the same device.
func (b *batch) putAllocation(a Allocation) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the allocation of %s: %w", a.Device, err)
	}
	b.edit(edit{device: a.Device, oldAllocation: b.allocation(a.Device), newAllocation: &a})
	return b.tx.Bucket(allocationsBucket).Put([]byte(a.Device.String()), raw)
}

// deleteAllocation removes the allocation of a device.
func (b *batch) deleteAllocation(device pci.Address) error {
	b.edit(edit{device: device, oldAllocation: b.allocation(device)})
	return b.tx.Bucket(allocationsBucket).Delete([]byte(device.String()))
}

// allocation returns the device's allocation, or nil.
func (b *batch) allocation(device pci.Address) *Allocation {
	if a, ok := b.index.allocations[device]; ok {
		return &a
	}
	return nil
}

func (b *batch) statusesWritten(statuses map[string]json.RawMessage) error {
	for id, status := range statuses {
		if err := b.statusWritten(id, status); err != nil {
			return err
		}
	}
	return nil
}

// statusWritten removes a status from its record, unless the record has another one
// by now.
func (b *batch) statusWritten(id string, status json.RawMessage) error {
	old := b.index.sandboxes[id]
	if old == nil || len(old.status) == 0 || !bytes.Equal(old.status, status) {
		return nil
	}
	fresh := *old
	fresh.status, fresh.OwesStatus = nil, false
	b.edit(edit{sandbox: id, oldEntry: old, newEntry: &fresh})
	return b.putStatus(id, nil)
}
