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
	firstOpenGap = 2 * time.Second // at first: the process may just be ending
	lastOpenGap  = time.Minute     // at last: a virtual machine runs for days
)

// sightings keeps the facts about the functions themselves in the View: netdevs, VFIO,
// IOMMU groups.
type sightings struct {
	src  Sources
	out  *published
	wake chan struct{} // something is due earlier than follow knows

	// Guarded by out.mu.
	settled map[pci.Address]time.Time // when to stop waiting for the function's netdev
	open    time.Time                 // when to look at VFIO again, which is closed without an event; zero: never
	openGap time.Duration             // the pause before the look after that
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

// setDevices takes a new snapshot, and reads the facts about changed functions that a
// snapshot does not have.
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
				next.missing = withMember(next.missing, fn, false)
			}
		}
		s.dropSettled(next)
		s.readGroups(next, old, slices.Concat(changed, changes.Removed))
		s.lookOpen(next, slices.Concat(changed, changes.Removed))
		return true
	})
}

// awaitNetdev gives a function's netdev time to appear. Until then the function does not
// count as used by another network namespace.
func (s *sightings) awaitNetdev(next *View, fn pci.Address) {
	next.settling = withMember(next.settling, fn, true)
	s.settled[fn] = s.src.Now().Add(s.src.Settle)
	signal(s.wake)
}

// returned waits for the netdevs of functions that a sandbox has given back: the devices
// are read a moment after the ledger was written.
func (s *sightings) returned(next *View, had []Use) {
	for _, u := range had {
		if u.Kind != Children && next.index.functions[u.Function].absent() {
			s.awaitNetdev(next, u.Function)
		}
	}
}

// forget drops the sightings of a user without a record, after a user with a record has
// got the function.
func (s *sightings) forget(next *View, uses []Use) {
	for _, u := range uses {
		if next.open[u.Function] {
			next.open = withMember(next.open, u.Function, false)
		}
		if next.missing[u.Function] {
			next.missing = withMember(next.missing, u.Function, false)
		}
	}
}

// dropSettled stops waiting for netdevs that have appeared or are overdue. It reports
// whether there were any.
func (s *sightings) dropSettled(next *View) bool {
	now := s.src.Now()
	ended := false
	for fn, at := range s.settled {
		if now.Before(at) && next.index.functions[fn].absent() != next.missing[fn] {
			continue
		}
		delete(s.settled, fn)
		next.settling = withMember(next.settling, fn, false)
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
		next.missing = withMember(next.missing, fn, false)
	}
	return found
}

// reread reads the facts that change without events: VFIO, the drivers of functions that
// are not among the devices, and netdevs that were missing between two snapshots.
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

// withMember returns a copy of a set with a member added or removed.
func withMember(set map[pci.Address]bool, fn pci.Address, member bool) map[pci.Address]bool {
	next := maps.Clone(set)
	if next == nil {
		next = map[pci.Address]bool{}
	}
	if next[fn] = true; !member {
		delete(next, fn)
	}
	return next
}
