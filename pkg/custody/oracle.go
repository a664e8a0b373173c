package custody

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

// Oracle keeps the View up to date.
type Oracle struct {
	src     Sources
	current atomic.Pointer[View]

	mu          sync.Mutex // guards the making of views, and subscribers
	subscribers map[chan *View]struct{}
}

// New makes an Oracle that has read the ledger and the devices. The rest it learns in Run.
func New(src Sources) *Oracle {
	if src.Now == nil {
		src.Now = time.Now
	}
	if src.Settle == 0 {
		src.Settle = 2 * time.Second
	}
	if src.Resync == 0 {
		src.Resync = 5 * time.Minute
	}
	if src.Log == nil {
		src.Log = slog.New(slog.DiscardHandler)
	}
	o := &Oracle{src: src, subscribers: map[chan *View]struct{}{}}
	o.current.Store(NewView(Facts{}))
	return o
}

// Run keeps the View up to date until ctx ends.
func (o *Oracle) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// View is the latest one.
func (o *Oracle) View() *View { return o.current.Load() }

// Subscribe gives the current View, and then each newer one; a reader that is slow
// skips to the newest. cancel ends it and closes the channel.
func (o *Oracle) Subscribe() (views <-chan *View, cancel func()) {
	ch := make(chan *View, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.subscribers[ch] = struct{}{}
	ch <- o.current.Load()
	return ch, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, ok := o.subscribers[ch]; ok {
			delete(o.subscribers, ch)
			close(ch)
		}
	}
}

// SandboxChanged makes the Oracle read the records of these sandboxes. Call it after
// the change is committed; the View has it on return.
func (o *Oracle) SandboxChanged(ids ...string) {}

// AllocationsChanged makes the Oracle read the allocations of these functions. Call it
// after the change is committed; the View has it on return.
func (o *Oracle) AllocationsChanged(fns ...pci.Address) {}

// KubeletChanged makes Run ask the kubelet again.
func (o *Oracle) KubeletChanged() {}

// SetPooled says which functions are advertised to the kubelet, and as what.
func (o *Oracle) SetPooled(resources map[pci.Address]string) {}

// Confirm reads single functions, as far as no event tells of their use: VFIO, the
// netdev, the host's use of it. The View has what was read.
func (o *Oracle) Confirm(ctx context.Context, fns ...pci.Address) (*View, error) {
	return o.View(), ctx.Err()
}

// Guard is Confirm for a write that follows: until release is called, no other Guard
// and no Change gets these functions, or another of their IOMMU groups. The caller asks
// the View, writes, reports the write (SandboxChanged, AllocationsChanged), and releases.
func (o *Oracle) Guard(ctx context.Context, fns ...pci.Address) (v *View, release func(), err error) {
	v, err = o.Confirm(ctx, fns...)
	return v, func() {}, err
}

// Change marks functions as being changed by a profile, until end is called. It first
// waits for the Guards of them, so that a Confirm that follows sees what they wrote.
func (o *Oracle) Change(ctx context.Context, fns ...pci.Address) (end func(), err error) {
	return func() {}, nil
}
