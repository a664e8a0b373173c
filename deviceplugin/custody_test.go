package deviceplugin

import (
	"context"
	"maps"
	"sync"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// desk is a custody that makes its View from plain facts.
type desk struct {
	mu       sync.Mutex // guards all below
	facts    custody.Facts
	changing map[pci.Address]int
	pooled   map[pci.Address]string
	asked    int                  // how often View was
	err      error                // of Guard and Confirm
	late     func(*custody.Facts) // facts that only Confirm sees
	subs     map[chan *custody.View]bool

	guards sync.RWMutex // a reader holds it from Guard to release; Change waits for it
}

func newDesk() *desk {
	return &desk{changing: map[pci.Address]int{}, subs: map[chan *custody.View]bool{}}
}

func (d *desk) view(late bool) *custody.View {
	f := d.facts
	f.Host = maps.Clone(f.Host)
	for vf := range d.changing {
		f.Changing = append(f.Changing, vf)
	}
	if late && d.late != nil {
		d.late(&f)
	}
	return custody.NewView(f)
}

func (d *desk) View() *custody.View {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return d.view(false)
}

func (d *desk) Subscribe() (<-chan *custody.View, func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ch := make(chan *custody.View, 1)
	d.subs[ch] = true
	return ch, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.subs, ch)
	}
}

// learn changes the facts, and publishes them.
func (d *desk) learn(change func(*custody.Facts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.facts)
	d.publish()
}

func (d *desk) publish() {
	for ch := range d.subs {
		select {
		case <-ch:
		default:
		}
		ch <- d.view(false)
	}
}

func (d *desk) Confirm(context.Context, ...pci.Address) (*custody.View, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view(true), d.err
}

func (d *desk) Guard(ctx context.Context, vfs ...pci.Address) (*custody.View, func(), error) {
	d.guards.RLock()
	v, err := d.Confirm(ctx, vfs...)
	if err != nil {
		d.guards.RUnlock()
		return nil, nil, err
	}
	return v, d.guards.RUnlock, nil
}

func (d *desk) Change(_ context.Context, vfs ...pci.Address) (func(), error) {
	d.guards.Lock()
	defer d.guards.Unlock()
	d.count(vfs, 1)
	return func() { d.count(vfs, -1) }, nil
}

func (d *desk) count(vfs []pci.Address, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, vf := range vfs {
		if d.changing[vf] += n; d.changing[vf] == 0 {
			delete(d.changing, vf)
		}
	}
	d.publish()
}

// setLate sets facts that only Confirm sees: their events are on their way.
func (d *desk) setLate(late func(*custody.Facts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late = late
}

func (d *desk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *desk) AllocationsChanged(...pci.Address) {}

func (d *desk) SetPooled(resources map[pci.Address]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pooled = resources
	d.facts.Pooled = resources
	d.publish()
}

// devices sets the snapshot.
func (d *desk) devices(s *inventory.Snapshot) {
	d.learn(func(f *custody.Facts) { f.Devices = s })
}

// allocated records allocations as the ledger's news would.
func (d *desk) allocated(a []ledger.Allocation) {
	d.learn(func(f *custody.Facts) { f.Allocations = a })
}
