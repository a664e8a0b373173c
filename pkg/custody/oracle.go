package custody

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// Oracle keeps the View up to date. Its methods may be called from several goroutines.
type Oracle struct {
	src       Sources
	out       *published
	sightings *sightings
	records   *records
	host      *hostLinks
	grants    *grants
	locks     locks
}

// New makes an Oracle that has read the ledger and the devices. Run reads the other
// sources, and follows the changes of all.
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
	first := NewView(Facts{})
	if src.Host != nil {
		first.unread = map[string]string{hostSource: "not read yet"}
	}
	out := newPublished(first)
	o := &Oracle{src: src, out: out, host: &hostLinks{src.Host, out, src.Log}}
	o.sightings = &sightings{src: src, out: out, wake: make(chan struct{}, 1), settled: map[pci.Address]time.Time{}}
	o.grants = &grants{src: src, out: out, sightings: o.sightings, ask: make(chan struct{}, 1)}
	o.records = &records{ledger: src.Ledger, out: out, sightings: o.sightings, grants: o.grants, log: src.Log, failed: make(chan struct{}, 1)}
	o.records.read()
	if src.Devices != nil {
		o.sightings.setDevices(src.Devices.Snapshot())
	}
	return o
}

// Run keeps the View up to date until ctx ends. Without an event it wakes only at each
// Resync, and to look again at three things: a function that a process has open through
// VFIO, a netdev that has not appeared, a source that could not be read.
func (o *Oracle) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	if o.src.Ledger != nil {
		g.Go(func() error { return o.records.follow(ctx) })
	}
	if o.src.Host != nil {
		g.Go(func() error { return o.host.follow(ctx) })
	}
	if o.src.Kubelet != nil {
		g.Go(func() error { return o.grants.follow(ctx) })
	}
	g.Go(func() error { return o.sightings.follow(ctx) })
	return g.Wait()
}

// View returns the latest View.
func (o *Oracle) View() *View { return o.out.view() }

// Subscribe sends the current View, and then newer ones. A slow reader gets only the
// newest. Cancel closes the channel.
func (o *Oracle) Subscribe() (views <-chan *View, cancel func()) { return o.out.subscribe() }

// WaitRead waits until Run has read every source that a View needs. It returns false if
// ctx ends before that.
func (o *Oracle) WaitRead(ctx context.Context) bool {
	views, cancel := o.Subscribe()
	defer cancel()
	for {
		select {
		case v := <-views:
			if len(v.unread) == 0 && (o.src.Devices == nil || v.Devices().Read()) {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// SandboxChanged makes the Oracle read the records of these sandboxes. Call it after the
// change is committed. When it returns, the View has the change.
func (o *Oracle) SandboxChanged(ids ...string) { o.records.readSandboxes(ids) }

// AllocationsChanged makes the Oracle read the allocations of these functions, or of all
// if no function is given. Call it after the change is committed. When it returns, the
// View has the change.
func (o *Oracle) AllocationsChanged(fns ...pci.Address) { o.records.readAllocations(fns) }

// SetPooled takes the functions that are advertised to the kubelet, with their resources.
func (o *Oracle) SetPooled(resources map[pci.Address]string) {
	o.out.update(func(next *View) bool {
		if maps.Equal(next.pooled, resources) {
			return false
		}
		next.pooled = maps.Clone(resources)
		return true
	})
}

// SetGoverned takes the PFs that profiles govern, with the profiles' names.
func (o *Oracle) SetGoverned(profiles map[pci.Address]string) {
	o.out.update(func(next *View) bool {
		if maps.Equal(next.governed, profiles) {
			return false
		}
		next.governed = maps.Clone(profiles)
		return true
	})
}

// ToAttach confirms a function and asks View.ToAttach. If somebody uses the function,
// the error is an *InUseError.
func (o *Oracle) ToAttach(fn pci.Address, sandboxID string, pod ledger.PodRef, given bool) error {
	v, err := o.Confirm(context.Background(), fn)
	if err != nil {
		return err
	}
	if u, used := v.ToAttach(fn, sandboxID, pod, given); used {
		return o.refused(u, fn.String(), "pod", pod.String())
	}
	return nil
}

// ToCarry asks View.ToCarry. If no link may be made on the netdev, the error is an
// *InUseError.
func (o *Oracle) ToCarry(netdev, sandboxID string) error {
	if u, used := o.View().ToCarry(netdev, sandboxID); used {
		return o.refused(u, "netdev "+netdev, "sandbox", sandboxID)
	}
	return nil
}

// refused logs the reason with the names of pods, which the pod's author does not get.
// ForWhom is a log key and its value.
func (o *Oracle) refused(u Use, object string, forWhom ...any) error {
	o.src.Log.Warn("refused to give a pod "+object, append(forWhom, "error", u.Reason())...)
	return &InUseError{Use: u, What: object}
}
