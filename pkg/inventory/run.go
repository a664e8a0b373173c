package inventory

import (
	"context"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/retry"
)

// Run keeps the inventory up to date until ctx ends, which is no error. If a source of events
// fails, it is opened again and everything is read again, since events were missed. A failed
// reading is logged and tried again.
func (inv *Inventory) Run(ctx context.Context) error {
	const firstWait, maxWait = time.Second, 30 * time.Second
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		if inv.follow(ctx) {
			wait = firstWait
		}
		if retry.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// follow reads everything, and then the functions that events name, until a source ends. It
// reports whether the sources could be opened.
func (inv *Inventory) follow(ctx context.Context) (worked bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // closes the sources that are still open
	events, err := inv.open(ctx)
	// The full reading comes after opening, so that no change falls between the two. It happens
	// even if the sources could not be opened.
	read := inv.refresh(ctx)
	if err != nil {
		inv.logUnlessDone(ctx, "opening the kernel's event sources failed; trying again", err)
		return false
	}
	inv.process(ctx, events, read)
	if ctx.Err() == nil {
		inv.opts.Log.Warn("kernel events ended; opening them again")
	}
	return true
}

// open merges the sources into one channel, which closes as soon as one of the sources ends.
func (inv *Inventory) open(ctx context.Context) (<-chan Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	merged := make(chan Event)
	var forwarders sync.WaitGroup
	for _, source := range inv.opts.Events {
		events, err := source.Open(ctx)
		if err != nil {
			cancel()
			return nil, err
		}
		forwarders.Go(func() {
			defer cancel() // the others end too
			for e := range events {
				select {
				case merged <- e:
				case <-ctx.Done():
				}
			}
		})
	}
	go func() {
		if len(inv.opts.Events) == 0 {
			<-ctx.Done()
		}
		forwarders.Wait()
		cancel()
		close(merged)
	}()
	return merged, nil
}

// process collects events and updates until the channel closes. read says whether the full
// reading before it succeeded.
func (inv *Inventory) process(ctx context.Context, events <-chan Event, read bool) {
	resync := time.NewTimer(inv.opts.Resync)
	defer resync.Stop()
	// No further event reports the changes that a failed reading missed.
	pauses := retry.Backoff{First: 2 * time.Second, Max: 30 * time.Second}
	failures, nextTry := 0, time.NewTimer(pauses.First)
	defer nextTry.Stop()
	if read {
		nextTry.Stop()
	} else {
		failures = 1
	}
	readAgain := func() {
		if inv.refresh(ctx) {
			failures = 0
			nextTry.Stop()
			return
		}
		failures++
		nextTry.Reset(pauses.After(failures))
	}
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if dirty, all := inv.gather(e, events); all || !inv.update(dirty) {
				readAgain()
			}
		case <-nextTry.C:
			readAgain()
		case <-resync.C:
			if untilResync(inv) <= 0 { // otherwise a caller's Refresh has just read everything
				readAgain()
			}
			resync.Reset(max(untilResync(inv), 0))
		}
	}
}

// untilResync returns the time until everything has to be read again.
func untilResync(inv *Inventory) time.Duration {
	return inv.opts.Resync - time.Since(time.Unix(0, inv.read.Load()))
}

// gather collects the functions that events name until the events pause: creating VFs, or
// moving one into a pod, causes a burst of them.
func (inv *Inventory) gather(first Event, events <-chan Event) (dirty map[pci.Address]bool, all bool) {
	dirty = map[pci.Address]bool{}
	all = inv.mark(first, dirty)
	latest := time.After(inv.opts.MaxDelay)
	quiet := time.NewTimer(inv.opts.Quiet)
	defer quiet.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return dirty, all
			}
			all = inv.mark(e, dirty) || all
			quiet.Reset(inv.opts.Quiet)
		case <-quiet.C:
			return dirty, all
		case <-latest:
			return dirty, all
		}
	}
}

// mark records the function that an event is about. Most events on a node are about netdevs
// without one.
func (inv *Inventory) mark(e Event, dirty map[pci.Address]bool) (all bool) {
	if !e.Function.IsZero() {
		dirty[e.Function] = true
	}
	if e.Netdev != "" {
		if addr, ok := inv.opts.FS.FunctionOf(e.Netdev); ok {
			dirty[addr] = true
		}
		// The netdev may be gone, or its name may now belong to another: then the function that
		// had the name has changed too.
		if addr, ok := inv.current.Load().netdevs[e.Netdev]; ok {
			dirty[addr] = true
		}
	}
	return e.Lost
}

// update reads the functions that events named. It returns false if a full reading is needed.
func (inv *Inventory) update(dirty map[pci.Address]bool) bool {
	if len(dirty) == 0 {
		return true
	}
	err := inv.reread(dirty)
	if err != nil {
		inv.opts.Log.Warn("reading changed devices failed; reading all devices", "error", err)
	}
	return err == nil
}

func (inv *Inventory) refresh(ctx context.Context) (read bool) {
	_, err := inv.Refresh(ctx)
	if err != nil {
		inv.logUnlessDone(ctx, "reading devices failed; trying again", err)
	}
	return err == nil
}

func (inv *Inventory) logUnlessDone(ctx context.Context, msg string, err error) {
	if ctx.Err() == nil {
		inv.opts.Log.Error(msg, "error", err)
	}
}
