package custody

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/retry"
)

// ledgerSource is the ledger's name in Unknown uses.
const ledgerSource = "read the ledger"

// records follows the ledger: all of it once, and then each record that changes.
type records struct {
	ledger    Ledger
	out       *published
	sightings *sightings
	grants    *grants
	log       *slog.Logger
	failed    chan struct{} // a record could not be read
}

// follow reads each change, and everything again after a failure, until ctx ends.
func (r *records) follow(ctx context.Context) error {
	changes, cancel := r.ledger.Subscribe()
	defer cancel()
	r.read() // what changed since New
	for {
		select {
		case <-ctx.Done():
			return nil
		case c, ok := <-changes:
			switch {
			case !ok:
				changes = nil
			case c.Allocations:
				r.readAllocations(nil)
			default:
				r.readSandboxes([]string{c.SandboxID})
			}
		case <-r.failed:
			_ = retry.Sleep(ctx, retryUnread)
			r.read()
		}
	}
}

func (r *records) read() {
	if r.ledger == nil {
		return
	}
	r.out.update(func(next *View) bool {
		allocations, err := r.ledger.Allocations()
		if err != nil {
			return r.fail(next, err)
		}
		next.sandboxes, next.allocations = recorded(r.ledger.Entries()), byDevice(allocations)
		next.mark(ledgerSource, nil)
		return true
	})
}

// fail makes the use of every function unknown until all records are read.
func (r *records) fail(next *View, err error) bool {
	r.log.Error("the ledger cannot be read; no device is handed out until it can", "error", err)
	signal(r.failed)
	return next.mark(ledgerSource, err)
}

func (r *records) readSandboxes(ids []string) {
	r.out.update(func(next *View) bool {
		changed := false
		for _, id := range ids {
			var uses []Use
			if e, ok := r.ledger.Entry(id); ok {
				uses = usesOf(e)
			}
			had := next.sandboxes.byID[id]
			if reflect.DeepEqual(had, uses) {
				continue // an address or a status changed
			}
			next.sandboxes = next.sandboxes.with(id, uses)
			r.sightings.returned(next, had)
			r.sightings.forget(next, uses)
			changed = true
		}
		return changed
	})
}

// readAllocations reads the allocations of functions; none means all.
func (r *records) readAllocations(fns []pci.Address) {
	r.out.update(func(next *View) bool {
		all, err := r.ledger.Allocations()
		if err != nil {
			return r.fail(next, err)
		}
		now := byDevice(all)
		if len(fns) == 0 {
			fns = slices.AppendSeq(slices.Collect(maps.Keys(now)), maps.Keys(next.allocations))
		}
		allocations := maps.Clone(next.allocations)
		changed := false
		for _, fn := range fns {
			a, ok := now[fn]
			had, was := allocations[fn]
			if ok == was && reflect.DeepEqual(a, had) {
				continue
			}
			changed = true
			if allocations[fn] = a; !ok {
				delete(allocations, fn)
			}
			r.allocationChanged(next, fn, ok)
		}
		next.allocations = allocations
		return changed
	})
}

func (r *records) allocationChanged(next *View, fn pci.Address, allocated bool) {
	uses := []Use{{Kind: Allocation, Function: fn}}
	r.sightings.forget(next, uses)
	if allocated {
		return
	}
	r.sightings.returned(next, uses)
	if len(next.grants[fn]) > 0 {
		signal(r.grants.ask) // the kubelet's last word is out of date
	}
}

func byDevice(all []ledger.Allocation) map[pci.Address]ledger.Allocation {
	out := make(map[pci.Address]ledger.Allocation, len(all))
	for _, a := range all {
		out[a.Device] = a
	}
	return out
}
