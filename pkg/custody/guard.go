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
// for its VFs, including those that are made meanwhile. Change first waits for the Guards
// of the functions, so that a later Confirm sees their writes.
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

// locks has one lock for each function that somebody has locked or is waiting for.
type locks struct {
	mu     sync.Mutex // guards byAddr
	byAddr map[pci.Address]*functionLock
}

type functionLock struct {
	taken chan struct{} // holds a value while the function is locked
	users int           // callers that have the lock or wait for it
}

// lock locks functions, always in the order of their addresses, so that two callers
// never wait for each other.
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
			return nil, fmt.Errorf("wait for another call that is taking %s: %w", fn, ctx.Err())
		}
	}
	return sync.OnceFunc(func() { l.release(wanted) }), nil
}

func (l *locks) join(fn pci.Address) *functionLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.byAddr[fn]
	if f == nil {
		if l.byAddr == nil {
			l.byAddr = map[pci.Address]*functionLock{}
		}
		f = &functionLock{taken: make(chan struct{}, 1)}
		l.byAddr[fn] = f
	}
	f.users++
	return f
}

func (l *locks) release(fns []pci.Address) {
	for _, fn := range fns {
		l.mu.Lock()
		f := l.byAddr[fn]
		l.mu.Unlock()
		<-f.taken
		l.leave(fn)
	}
}

func (l *locks) leave(fn pci.Address) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.byAddr[fn]
	if f.users--; f.users == 0 {
		delete(l.byAddr, fn)
	}
}
