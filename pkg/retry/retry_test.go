package retry

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestSleep(t *testing.T) {
	if err := Sleep(t.Context(), time.Microsecond); err != nil {
		t.Error(err)
	}
	cause := errors.New("the runtime gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := Sleep(ctx, time.Hour); !errors.Is(err, cause) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{First: 5 * time.Second, Max: 5 * time.Minute}
	for attempts, want := range map[int]time.Duration{
		1: 5 * time.Second, 2: 10 * time.Second, 6: 160 * time.Second, 7: 5 * time.Minute, 1 << 30: 5 * time.Minute,
	} {
		if got := b.After(attempts); got != want {
			t.Errorf("after %d attempts %v, want %v", attempts, got, want)
		}
	}
}

// meta-cni C7: the pauses of all steps come out of one budget.
func TestBudget(t *testing.T) {
	busy, broken := errors.New("busy"), errors.New("broken")
	fails := func(n int, with error) (calls *int, fn func() error) {
		calls = new(int)
		return calls, func() error {
			if *calls++; *calls <= n {
				return with
			}
			return nil
		}
	}
	pauses := 0
	b := Budget{Left: 5, Pause: time.Hour, Sleep: func(ctx context.Context, d time.Duration) error {
		if pauses++; d != time.Hour {
			t.Errorf("a pause of %s", d)
		}
		return context.Cause(ctx)
	}}
	passes := func(err error) bool { return err == busy }
	ended, end := context.WithCancel(t.Context())
	end()
	for i, tt := range []struct {
		ctx    context.Context
		n      int
		with   error
		want   error
		calls  int
		pauses int
	}{
		{t.Context(), 0, nil, nil, 1, 0},
		{t.Context(), 9, broken, broken, 1, 0},
		{t.Context(), 3, busy, nil, 4, 3},
		{ended, 9, busy, busy, 1, 4},
		{t.Context(), 9, busy, busy, 2, 5}, // one is left
		{t.Context(), 9, busy, busy, 1, 5},
	} {
		calls, fn := fails(tt.n, tt.with)
		if err := b.While(tt.ctx, passes, fn); err != tt.want || *calls != tt.calls || pauses != tt.pauses {
			t.Errorf("%d: %v after %d calls and %d pauses", i, err, *calls, pauses)
		}
	}
	calls, fn := fails(1, busy)
	real := Budget{Left: 1, Pause: time.Millisecond}
	if err := real.While(t.Context(), passes, fn); err != nil || *calls != 2 {
		t.Errorf("%v after %d calls", err, *calls)
	}
}
