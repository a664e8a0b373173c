// Package retry has the two things that every retry needs: a pause that ends with
// its context, and the length of the next pause.
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
