package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/retry"
)

// builtInWidth is how many sandboxes have their built-in networks undone at a time
// without a call for it. No program runs in it, so nobody's choice can make it hang.
const builtInWidth = 16

// roundLimit bounds the wait of one Reconcile. Releases that take longer go on.
const roundLimit = 2 * time.Minute

// reconciler finds the sandboxes that are to be released without a call, and releases
// them: the built-in networks of all first, programs in the lane of their namespace.
type reconciler struct {
	o        Options
	locks    *locks
	releaser *releaser
	lanes    *lanes
	started  time.Time
	work     sync.WaitGroup // releases under way

	mu     sync.Mutex // guards inWork
	inWork map[string]bool
	width  chan struct{}
}

// round is one Reconcile. prune forgets allocations meanwhile.
func (r *reconciler) round(ctx context.Context, prune func(context.Context) error) error {
	var errs joined
	pruned := make(chan error, 1)
	go func() { pruned <- prune(ctx) }() // ends with the kubelet's answer, which is bounded
	entries := r.o.Ledger.Entries()
	for _, e := range entries {
		reason, err := r.dead(ctx, e, entries)
		switch {
		case err != nil:
			errs.add(named(e, err))
		case reason != "" && r.due(e):
			r.start(ctx, e, reason, r.programs(), &errs)
		}
	}
	errs.wait(ctx)
	errs.add(<-pruned)
	return errs.err()
}

func (r *reconciler) programs() programs { return programs{exec: r.o.HostExec, path: r.o.PluginPath} }

// dead returns the reason why a sandbox is to be released; empty: it is not. A namespace
// that cannot be found is not enough: the agent may not see it. A pod that is gone is
// not enough either: its sandbox may still be stopping.
func (r *reconciler) dead(ctx context.Context, e ledger.Entry, all []ledger.Entry) (string, error) {
	switch {
	case e.Releasing:
		return "its release failed or was interrupted", nil
	case e.EarlierBoot: // no namespace survives a boot
		return "the node was rebooted", nil
	case r.interrupted(e.ID):
		return "its ADD was interrupted", nil
	case !r.o.Kernel.gone(e.Netns):
		return "", nil
	case e.Pod.Name == "":
		return "its network namespace is gone", nil
	case followed(e, all):
		return "its network namespace is gone, and its pod has a newer sandbox", nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pod, err := r.o.Cluster.Pod(ctx, e.Pod.Namespace, e.Pod.Name, e.Pod.UID)
	switch {
	case errors.Is(err, network.ErrNotFound):
		return "its network namespace and its pod are gone", nil
	case err != nil:
		return "", nil // not known: the next round may know
	case pod.Terminal:
		return "its network namespace is gone and its pod has ended", nil
	}
	return "", nil
}

// interrupted reports an ADD that no call works on and that is not complete.
func (r *reconciler) interrupted(id string) bool {
	unlock, free := r.locks.tryLock(id)
	if !free {
		return false
	}
	defer unlock()
	sandbox, ok, err := r.o.Ledger.Sandbox(id)
	return err == nil && ok && !complete(sandbox)
}

// followed reports that the same pod has a newer sandbox.
func followed(e ledger.Entry, all []ledger.Entry) bool {
	for _, other := range all {
		if e.Pod.UID != "" && other.Pod == e.Pod && other.ID != e.ID && other.Created.After(e.Created) {
			return true
		}
	}
	return false
}

// due reports that a failed release may be tried again. A release that failed under an
// agent before this one is tried at once: a restart, perhaps of a newer release, is the
// remedy at hand.
func (r *reconciler) due(e ledger.Entry) bool {
	return !r.o.Now().Before(e.RetryAt) || e.RetryAt.Add(-backoff(e.Attempts)).Before(r.started)
}

// start releases a sandbox beside the caller, unless that is under way.
func (r *reconciler) start(ctx context.Context, e ledger.Entry, reason string, p programs, errs *joined) {
	r.mu.Lock()
	busy := r.inWork[e.ID]
	r.inWork[e.ID] = true
	r.mu.Unlock()
	if busy {
		return
	}
	errs.begin()
	r.work.Go(func() { // bounded by the time limits of both parts, and by ctx
		err := r.releaseDead(ctx, e, reason, p)
		errs.add(named(e, err))
		errs.end()
		if err != nil {
			r.pauseUnrecorded(ctx, e.ID)
		}
		r.mu.Lock()
		delete(r.inWork, e.ID)
		r.mu.Unlock()
		if err != nil {
			r.releaser.wake.kick() // now it can be started again
		}
	})
}

// pauseUnrecorded waits if a failed release may be tried again at once, because the
// time of its next try could not be recorded (a full disk).
func (r *reconciler) pauseUnrecorded(ctx context.Context, id string) {
	if e, ok := r.o.Ledger.Entry(id); ok && r.due(e) {
		_ = retry.Sleep(ctx, firstRetry) // its error is ctx's, which ends the loop as well
	}
}

func named(e ledger.Entry, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sandbox %s of pod %s: %w", ledger.ShortID(e.ID), e.Pod, err)
}

// releaseDead releases a sandbox, unless a call works on it.
func (r *reconciler) releaseDead(ctx context.Context, e ledger.Entry, reason string, p programs) error {
	unlock, free := r.locks.tryLock(e.ID)
	if !free {
		return nil
	}
	sandbox, ok, err := r.current(e.ID, e.Created)
	unlock()
	if err != nil || !ok {
		return err
	}
	r.o.Log.Info("releasing a sandbox", "sandbox", e.ID, "pod", sandbox.Pod.String(), "reason", reason)
	return r.releaseQueued(ctx, sandbox, p)
}

// current reads a record. If the sandbox was made again since, by another ADD, ok is
// false: whatever was found out about it is over.
func (r *reconciler) current(id string, created time.Time) (s ledger.Sandbox, ok bool, err error) {
	s, ok, err = r.o.Ledger.Sandbox(id)
	return s, ok && s.Created.Equal(created), err
}

// releaseQueued releases the built-in networks of a sandbox at once, and the others in
// the lane of its namespace. While it waits there, calls for the sandbox go ahead.
func (r *reconciler) releaseQueued(ctx context.Context, sandbox ledger.Sandbox, p programs) error {
	failed, rest, err := r.releaseBuiltIn(ctx, sandbox, p)
	if err != nil || !rest {
		return err
	}
	leave, err := r.lanes.enter(ctx, sandbox.Pod.Namespace)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, undoTimeout) // a program that hangs gives its place up
	defer cancel()
	unlock, err := r.locks.lock(ctx, sandbox.ID)
	if err != nil {
		return err
	}
	defer unlock()
	sandbox, ok, err := r.current(sandbox.ID, sandbox.Created)
	if err != nil || !ok {
		return err // ok is false: a call has released it
	}
	return r.releaser.release(ctx, sandbox, p, share{failed: failed})
}

func (r *reconciler) releaseBuiltIn(ctx context.Context, sandbox ledger.Sandbox, p programs) (failed map[string]error, rest bool, err error) {
	if err := take(ctx, r.width); err != nil {
		return nil, false, &notBegunError{err}
	}
	defer func() { <-r.width }()
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	unlock, err := r.locks.lock(ctx, sandbox.ID)
	if err != nil {
		return nil, false, &notBegunError{err}
	}
	defer unlock()
	current, ok, err := r.o.Ledger.Sandbox(sandbox.ID)
	switch {
	case err != nil:
		return nil, false, &notBegunError{err}
	case ok && !current.Created.Equal(sandbox.Created), !ok && r.releaser.released.has(sandbox.ID): // by a call, meanwhile
		return nil, false, nil
	case ok:
		sandbox = current
	}
	return r.releaser.releaseBuiltIn(ctx, sandbox, p)
}
