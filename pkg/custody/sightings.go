package custody

import (
	"context"
	"maps"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

const (
	retryUnread  = 10 * time.Second
	firstOpenGap = 2 * time.Second // the process is just being ended
	lastOpenGap  = time.Minute     // a virtual machine runs for days
)

// sightings follows the functions themselves: their netdevs, VFIO, IOMMU groups.
type sightings struct {
	src  Sources
	out  *published
	wake chan struct{} // something is due earlier than follow knows

	// Guarded by out.mu.
	settled map[pci.Address]time.Time // when a netdev has had its time to appear
	open    time.Time                 // when to look again who has VFIO open: it closes without an event; zero: never
	openGap time.Duration             // to the look after that
}

// follow ends with ctx.
func (s *sightings) follow(ctx context.Context) error {
	var snapshots <-chan *inventory.Snapshot
	if s.src.Devices != nil {
		var cancel func()
		snapshots, cancel = s.src.Devices.Subscribe()
		defer cancel()
	}
	resync := time.NewTicker(s.src.Resync)
	defer resync.Stop()
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case snapshot := <-snapshots:
			s.setDevices(snapshot)
		case <-resync.C:
			s.reread()
		case <-due.C:
			s.lookDue()
		case <-s.wake:
		}
		due.Stop()
		if at := s.nextDue(); !at.IsZero() {
			due.Reset(at.Sub(s.src.Now()))
		}
	}
}

// setDevices takes a new snapshot over, and reads what the snapshot lacks of the
// functions that changed.
func (s *sightings) setDevices(snapshot *inventory.Snapshot) {
	s.out.update(func(next *View) bool {
		changes := inventory.Diff(next.Devices(), snapshot)
		if changes.Empty() && next.Devices().Read() == snapshot.Read() {
			return false
		}
		old, began := next.index.functions, next.Devices().Read() || len(next.index.functions) > 0
		next.devices = snapshot
		next.index = next.index.with(snapshot, changes)
		changed := slices.Concat(changes.Added, changes.Changed)
		for _, fn := range changed {
			f := next.index.functions[fn]
			if began && f.absent() && !(old[fn].absent() && old[fn].driver == f.driver) {
				s.awaitNetdev(next, fn)
			}
			if next.missing[fn] && !f.absent() {
				next.missing = with(next.missing, fn, false)
			}
		}
		s.dropSettled(next)
		s.readGroups(next, old, slices.Concat(changed, changes.Removed))
		s.lookOpen(next, slices.Concat(changed, changes.Removed))
		return true
	})
}

// awaitNetdev keeps a function without its netdev from counting as a foreign
// namespace's for a moment.
func (s *sightings) awaitNetdev(next *View, fn pci.Address) {
	next.settling = with(next.settling, fn, true)
	s.settled[fn] = s.src.Now().Add(s.src.Settle)
	signal(s.wake)
}

// returned gives functions that were given back time for their netdev to appear: the
// devices are read a moment later than the ledger is written.
func (s *sightings) returned(next *View, had []Use) {
	for _, u := range had {
		if u.Kind != Children && next.index.functions[u.Function].absent() {
			s.awaitNetdev(next, u.Function)
		}
	}
}

// forget drops what was seen of a user without a record: a new one is on record.
func (s *sightings) forget(next *View, uses []Use) {
	for _, u := range uses {
		if next.open[u.Function] {
			next.open = with(next.open, u.Function, false)
		}
		if next.missing[u.Function] {
			next.missing = with(next.missing, u.Function, false)
		}
	}
}

// dropSettled ends the wait for netdevs that are there, or have had their time. It
// reports whether there were any.
func (s *sightings) dropSettled(next *View) bool {
	now := s.src.Now()
	ended := false
	for fn, at := range s.settled {
		if now.Before(at) && next.index.functions[fn].absent() != next.missing[fn] {
			continue
		}
		delete(s.settled, fn)
		next.settling = with(next.settling, fn, false)
		s.lookMissing(next, fn)
		ended = true
	}
	return ended
}

// lookMissing looks again for a netdev that Confirm missed.
func (s *sightings) lookMissing(next *View, fn pci.Address) (found bool) {
	if !next.missing[fn] {
		return false
	}
	names, err := s.src.Functions.Netdevs(fn)
	if found = err == nil && len(names) > 0; found {
		next.missing = with(next.missing, fn, false)
	}
	return found
}

// reread reads what changes without events: VFIO, the drivers of functions that the
// devices don't include, and a netdev that was missed between two snapshots.
func (s *sightings) reread() {
	s.out.update(func(next *View) bool {
		all := slices.Collect(maps.Keys(next.index.functions))
		changed := s.readGroups(next, next.index.functions, all)
		for fn := range next.missing {
			changed = s.lookMissing(next, fn) || changed
		}
		return s.lookOpen(next, all) || changed
	})
}

func (s *sightings) lookDue() {
	s.out.update(func(next *View) bool {
		settled := s.dropSettled(next)
		if s.open.IsZero() || s.src.Now().Before(s.open) {
			return settled
		}
		s.open = time.Time{}
		s.openGap = min(2*s.openGap, lastOpenGap)
		return s.lookOpen(next, slices.Collect(maps.Keys(next.open))) || settled
	})
}

func (s *sightings) nextDue() time.Time {
	s.out.mu.Lock()
	defer s.out.mu.Unlock()
	first := s.open
	for _, at := range s.settled {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// with is a copy of a set with a member added or removed.
func with(set map[pci.Address]bool, fn pci.Address, member bool) map[pci.Address]bool {
	next := maps.Clone(set)
	if next == nil {
		next = map[pci.Address]bool{}
	}
	if next[fn] = true; !member {
		delete(next, fn)
	}
	return next
}
