package custody

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"fairlead.dev/fairlead/pkg/pci"
)

// Guard is Confirm for a write that follows: until release is called, no other Guard
// and no Change gets these functions, or another of their IOMMU groups. The caller asks
// the View, writes, reports the write (SandboxChanged, AllocationsChanged), and releases.
func (o *Oracle) Guard(ctx context.Context, fns ...pci.Address) (v *View, release func(), err error) {
	release, err = o.locks.lock(ctx, o.View().withGroups(fns))
	if err != nil {
		return nil, nil, err
	}
	if v, err = o.Confirm(ctx, fns...); err != nil {
		release()
		return nil, nil, err
	}
	return v, release, nil
}

// Change marks functions as being changed by a profile, until end is called. A PF stands
// for its VFs too, also for those that are made meanwhile. Change first waits for the
// Guards of the functions, so that a Confirm that follows sees what they wrote.
func (o *Oracle) Change(ctx context.Context, fns ...pci.Address) (end func(), err error) {
	v, all := o.View(), slices.Clone(fns)
	for _, fn := range fns {
		all = append(all, v.function(fn).vfs...)
	}
	release, err := o.locks.lock(ctx, all)
	if err != nil {
		return nil, err
	}
	defer release()
	o.out.countChanging(fns, 1)
	return sync.OnceFunc(func() { o.out.countChanging(fns, -1) }), nil
}

func (p *published) countChanging(fns []pci.Address, n int) {
	p.update(func(next *View) bool {
		changing := maps.Clone(next.changing)
		for _, fn := range fns {
			if changing[fn] += n; changing[fn] == 0 {
				delete(changing, fn)
			}
		}
		next.changing = changing
		return len(fns) > 0
	})
}

// withGroups adds to functions the other members of their IOMMU groups.
func (v *View) withGroups(fns []pci.Address) []pci.Address {
	all := slices.Clone(fns)
	for _, fn := range fns {
		for _, m := range v.groups[v.function(fn).group] {
			all = append(all, m.Address)
		}
	}
	return all
}

// locks are one lock per function, which exists while somebody has or wants it.
type locks struct {
	mu     sync.Mutex // guards places
	places map[pci.Address]*place
}

type place struct {
	taken chan struct{} // has room for one: who has the lock
	users int           // who have or want it
}

// lock takes the locks of functions, in one order for all, so that two callers never
// wait for each other.
func (l *locks) lock(ctx context.Context, fns []pci.Address) (release func(), err error) {
	wanted := slices.Clone(fns)
	slices.SortFunc(wanted, pci.Address.Compare)
	wanted = slices.Compact(wanted)
	for i, fn := range wanted {
		select {
		case l.join(fn).taken <- struct{}{}:
		case <-ctx.Done():
			l.leave(fn)
			l.release(wanted[:i])
			return nil, fmt.Errorf("wait for another call that is about to take %s: %w", fn, ctx.Err())
		}
	}
	return sync.OnceFunc(func() { l.release(wanted) }), nil
}

func (l *locks) join(fn pci.Address) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.places[fn]
	if p == nil {
		if l.places == nil {
			l.places = map[pci.Address]*place{}
		}
		p = &place{taken: make(chan struct{}, 1)}
		l.places[fn] = p
	}
	p.users++
	return p
}

func (l *locks) release(fns []pci.Address) {
	for _, fn := range fns {
		l.mu.Lock()
		p := l.places[fn]
		l.mu.Unlock()
		<-p.taken
		l.leave(fn)
	}
}

func (l *locks) leave(fn pci.Address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.places[fn]
	if p.users--; p.users == 0 {
		delete(l.places, fn)
	}
}
