// Package retry has the things that every retry needs: a pause that ends with its
// context, the length of the next pause, and a budget of pauses.
package retry

import (
	"context"
	"time"
)

// Sleep waits for d. If ctx ends first, it returns the cause at once.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Backoff doubles from First with each failed attempt, up to Max.
type Backoff struct{ First, Max time.Duration }

// After returns the pause after so many failed attempts, of which there is at least
// one.
func (b Backoff) After(attempts int) time.Duration {
	d := b.First
	for range attempts - 1 {
		if d *= 2; d >= b.Max {
			return b.Max
		}
	}
	return min(d, b.Max)
}

// Budget bounds the pauses of one piece of work: each repeated call takes one, whichever step
// of the work it belongs to. It is not for several goroutines.
type Budget struct {
	Left  int
	Pause time.Duration
	Sleep func(context.Context, time.Duration) error // nil: Sleep
}

// While calls fn again, after a pause, while passes says of its error that it may be over by
// then. It returns fn's last error when the budget is used up or ctx has ended.
func (b *Budget) While(ctx context.Context, passes func(error) bool, fn func() error) error {
	sleep := b.Sleep
	if sleep == nil {
		sleep = Sleep
	}
	for {
		err := fn()
		if err == nil || !passes(err) || b.Left <= 0 {
			return err
		}
		b.Left--
		if sleep(ctx, b.Pause) != nil {
			return err
		}
	}
}
