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

// ledgerSource names the ledger in Unknown uses.
const ledgerSource = "read the ledger"

// records keeps the ledger's records in the View: all at first, then each one that
// changes.
type records struct {
	ledger    Ledger
	out       *published
	sightings *sightings
	grants    *grants
	log       *slog.Logger
	failed    chan struct{} // a record could not be read
}

// follow reads each changed record until ctx ends. After a failure it reads all of them.
func (r *records) follow(ctx context.Context) error {
	changes, cancel := r.ledger.Subscribe()
	defer cancel()
	r.read() // changes since New
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

// fail makes the users of every function unknown until the ledger can be read.
func (r *records) fail(next *View, err error) bool {
	r.log.Error("cannot read the ledger; no device is handed out until it can be read", "error", err)
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
				continue // another part of the record has changed
			}
			next.sandboxes = next.sandboxes.with(id, uses)
			r.sightings.returned(next, had)
			r.sightings.forget(next, uses)
			changed = true
		}
		return changed
	})
}

// readAllocations reads the allocations of functions, or all if no function is given.
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
		signal(r.grants.ask) // the kubelet's last answer is out of date
	}
}

func byDevice(all []ledger.Allocation) map[pci.Address]ledger.Allocation {
	out := make(map[pci.Address]ledger.Allocation, len(all))
	for _, a := range all {
		out[a.Device] = a
	}
	return out
}
