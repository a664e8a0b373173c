package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// allocationGrace is how long the kubelet must not list a device before its allocation
// is over. It covers the time between the kubelet's Allocate and the pod's showing up
// there, and a kubelet that has just restarted and does not list its pods yet.
const allocationGrace = time.Minute

const (
	firstLook = 5 * time.Second
	lastLook  = 4 * time.Minute // longer pauses are left to Reconcile
)

// allocations forgets allocations of devices that no pod has any more. The kubelet does
// not announce that it has freed a device. If a sandbox has returned a device and the
// kubelet no longer lists it, it is free at once, without the grace.
type allocations struct {
	ledger  Ledger
	devices Devices
	now     func() time.Time
	log     *slog.Logger
	wake    signal

	looking sync.Mutex // held by prune

	mu       sync.Mutex                // guards what follows
	returned map[pci.Address]time.Time // by sandboxes
	unlisted map[pci.Address]time.Time // since when the kubelet does not list them
	inUse    map[pci.Address]time.Time // allocation that the kubelet has confirmed, by its time
	news     bool                      // a device was returned, or a sandbox ended, since the last look
	ended    bool                      // a sandbox ended not long ago: confirmed allocations may be its pod's
	pause    time.Duration             // before the next look
}

func newAllocations(o Options) *allocations {
	return &allocations{ledger: o.Ledger, devices: o.Devices, now: o.Now, log: o.Log, wake: newSignal(),
		returned: map[pci.Address]time.Time{}, inUse: map[pci.Address]time.Time{}}
}

// noteReturned remembers that sandboxes have returned devices.
func (a *allocations) noteReturned(devices []pci.Address) {
	if len(devices) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range devices {
		a.returned[d] = a.now()
	}
	a.news = true
	a.wake.kick()
}

// noteEnd remembers that a sandbox has ended. Its pod may be going, with devices that
// no network has ever attached: no sandbox returns these.
func (a *allocations) noteEnd() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.news, a.ended = true, true
	clear(a.inUse)
	a.wake.kick()
}

// prune forgets the allocations that are over.
func (a *allocations) prune(ctx context.Context) error {
	a.looking.Lock()
	defer a.looking.Unlock()
	began := a.now()
	all, err := a.ledger.Allocations()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	if len(all) > 0 {
		if used, err = a.listed(ctx); err != nil {
			return fmt.Errorf("compare allocations with the kubelet's: %w", err)
		}
	}
	stale := a.judge(all, used, began)
	if len(stale) > 0 {
		return a.ledger.DeleteAllocations(stale)
	}
	return nil
}

func (a *allocations) listed(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	inUse, err := a.devices.InUse(ctx)
	used := map[string]bool{}
	for _, ids := range inUse {
		for _, id := range ids {
			used[id] = true
		}
	}
	return used, err
}

// judge returns the allocations that are over, and remembers its findings.
func (a *allocations) judge(all []ledger.Allocation, used map[string]bool, began time.Time) (stale []ledger.Allocation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	unlisted, inUse, waiting := map[pci.Address]time.Time{}, map[pci.Address]time.Time{}, map[pci.Address]bool{}
	for _, alloc := range all {
		_, _, held := a.ledger.Holder(alloc.Device)
		isReturned := a.returned[alloc.Device].After(alloc.At)
		switch {
		case held:
		case used[alloc.Device.String()]:
			inUse[alloc.Device] = alloc.At
			waiting[alloc.Device] = isReturned // the pod is going, or its sandbox is made again
		case isReturned:
			stale = append(stale, alloc)
		default:
			first, ok := a.unlisted[alloc.Device]
			if !ok || first.Before(alloc.At) { // allocated again meanwhile
				first = began
			}
			unlisted[alloc.Device] = first
			if began.Sub(first) >= allocationGrace {
				stale = append(stale, alloc)
			}
		}
	}
	a.unlisted, a.inUse = unlisted, inUse
	for device, at := range a.returned {
		if !waiting[device] && !at.After(began) {
			delete(a.returned, device)
		}
	}
	return stale
}

// loop prunes until ctx ends. The device plugin's allocations wake it as well.
func (a *allocations) loop(ctx context.Context) {
	changes, stop := a.ledger.Subscribe()
	defer stop()
	var forward sync.WaitGroup
	defer forward.Wait()
	forward.Go(func() { // ends with ctx
		for {
			select {
			case <-ctx.Done():
				return
			case c := <-changes:
				if c.Allocations {
					a.wake.kick()
				}
			}
		}
	})
	loop(ctx, a.wake, a.look)
}

// look prunes if there may be something to prune: a device that was returned, or an
// allocation without an attachment. It asks the kubelet again less and less often. A
// device that the kubelet has confirmed as in use (a VF without a net-attach-def, for
// one) is left to Reconcile, except for a while after a sandbox has ended.
func (a *allocations) look(ctx context.Context) (next time.Duration, again bool) {
	all, err := a.ledger.Allocations()
	if err == nil && !a.undecided(all) {
		return 0, false
	}
	if err == nil {
		err = a.prune(ctx)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("forgetting allocations of released devices; it will be retried", "error", err)
	}
	return a.schedule(err != nil)
}

func (a *allocations) undecided(all []ledger.Allocation) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, alloc := range all {
		_, _, held := a.ledger.Holder(alloc.Device)
		if !held && (a.ended || !a.inUse[alloc.Device].Equal(alloc.At)) {
			return true
		}
	}
	a.ended = false // no allocation can be that of a pod without networks
	return len(a.returned) > 0
}

// schedule returns when to look again.
func (a *allocations) schedule(failed bool) (next time.Duration, again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pause *= 2; a.news || a.pause == 0 {
		a.pause, a.news = firstLook, false
	}
	a.ended = a.ended && a.pause <= lastLook
	if failed || a.ended || len(a.returned) > 0 && a.pause <= lastLook {
		next, again = min(a.pause, lastLook), true
	}
	for _, since := range a.unlisted {
		if over := since.Add(allocationGrace).Sub(a.now()); !again || over < next {
			next, again = over, true
		}
	}
	return next, again
}

func (a *allocations) quiet() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.returned) == 0
}
