package sandbox

import (
	"context"
	"time"
)

// settlePause is the pause between an event and the work that it causes: several failures
// of one cause come together.
const settlePause = time.Second

// signal wakes a loop that has not yet seen the last one, once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) kick() {
	select {
	case s <- struct{}{}:
	default: // it is awake, or will be
	}
}

// loop calls work after each signal, and when work itself says that something is due.
// In between it sleeps: a node on which nothing is to be done is left alone.
func loop(ctx context.Context, wake signal, work func(context.Context) (next time.Duration, again bool)) {
	timer := time.NewTimer(settlePause) // something may be left from before
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			timer.Reset(settlePause)
			continue
		case <-timer.C:
		}
		if next, again := work(ctx); again {
			timer.Reset(max(next, settlePause))
		}
	}
}

// retryLoop starts the releases that are due, until ctx ends.
func (r *reconciler) retryLoop(ctx context.Context) {
	loop(ctx, r.releaser.wake, func(ctx context.Context) (time.Duration, bool) { return r.retryDue(ctx, &joined{}) })
}

// retryDue starts the releases that are due. It returns when the next one is. Only the
// ledger's index is read for that; no record is decoded while nothing is due.
func (r *reconciler) retryDue(ctx context.Context, errs *joined) (next time.Duration, again bool) {
	for _, e := range r.o.Ledger.Entries() {
		if !e.Releasing {
			continue
		}
		switch pause := e.RetryAt.Sub(r.o.Now()); {
		case r.busy(e.ID): // its end wakes the loop
		case r.due(e):
			r.start(ctx, e, "its release failed or was interrupted", r.programs(), errs)
		case !again || pause < next:
			next, again = pause, true
		}
	}
	return next, again
}

// busy reports a release that an earlier round has started.
func (r *reconciler) busy(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inWork[id]
}
