package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"fairlead.dev/fairlead/pkg/pci"
)

// batch is a transaction of the file, with the same changes made to the index.
type batch struct {
	tx       *bolt.Tx
	index    *index  // has the changes of this batch already
	revision *uint64 // last one given out
	edits    []edit
	writes   int // changes of the file or the index so far
}

// edit is one change of the index: of a sandbox's entry, or of an allocation.
type edit struct {
	sandbox          string      // empty: device
	device           pci.Address // of the allocation
	oldEntry, entry  *entry      // nil: none
	oldAlloc, allocd *Allocation // nil: none
}

func (e edit) apply(x *index) {
	if e.sandbox != "" {
		x.setSandbox(e.sandbox, e.entry)
	} else {
		x.setAllocation(e.device, e.allocd)
	}
}

func (e edit) reverse() edit {
	e.oldEntry, e.entry = e.entry, e.oldEntry
	e.oldAlloc, e.allocd = e.allocd, e.oldAlloc
	return e
}

// revert takes the batch's changes out of the index.
func (b *batch) revert() {
	for len(b.edits) > 0 {
		last := len(b.edits) - 1
		b.edits[last].reverse().apply(b.index)
		b.edits = b.edits[:last]
	}
}

// edit changes the index. It is called before the file is changed: a change that
// fails without writes needs no roll back.
func (b *batch) edit(e edit) {
	b.writes++
	b.edits = append(b.edits, e)
	e.apply(b.index)
}

// put writes a record. raw is the sandbox without its status.
func (b *batch) put(e *entry, raw []byte) error {
	old := b.index.sandboxes[e.ID]
	fresh := *e // a batch that is repeated finds e as it was
	*b.revision++
	fresh.revision = *b.revision
	b.edit(edit{sandbox: e.ID, oldEntry: old, entry: &fresh})
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

func (b *batch) putAllocation(a Allocation) error {
	raw, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the allocation of %s: %w", a.Device, err)
	}
	b.edit(edit{device: a.Device, oldAlloc: b.allocation(a.Device), allocd: &a})
	return b.tx.Bucket(allocationsBucket).Put([]byte(a.Device.String()), raw)
}

func (b *batch) deleteAllocation(device pci.Address) error {
	b.edit(edit{device: device, oldAlloc: b.allocation(device)})
	return b.tx.Bucket(allocationsBucket).Delete([]byte(device.String()))
}

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

// statusWritten takes a status off its record, unless the record has another one
// by now.
func (b *batch) statusWritten(id string, status json.RawMessage) error {
	old := b.index.sandboxes[id]
	if old == nil || len(old.status) == 0 || !bytes.Equal(old.status, status) {
		return nil
	}
	fresh := *old
	fresh.status, fresh.OwesStatus = nil, false
	*b.revision++
	fresh.revision = *b.revision
	b.edit(edit{sandbox: id, oldEntry: old, entry: &fresh})
	return b.putStatus(id, nil)
}
