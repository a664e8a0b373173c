package sandbox

import (
	"context"
	"errors"
	"sync"
	"time"
)

// joined collects the errors of releases that go on side by side.
type joined struct {
	group sync.WaitGroup

	mu   sync.Mutex // guards errs
	errs []error
}

func (j *joined) begin() { j.group.Add(1) }
func (j *joined) end()   { j.group.Done() }

func (j *joined) add(err error) {
	if err == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.errs = append(j.errs, err)
}

// wait waits for the releases, until ctx ends or the round has taken too long.
func (j *joined) wait(ctx context.Context) {
	all := make(chan struct{})
	go func() { // ends with the releases, which have time limits
		j.group.Wait()
		close(all)
	}()
	limit := time.NewTimer(roundLimit)
	defer limit.Stop()
	select {
	case <-all:
	case <-ctx.Done():
	case <-limit.C:
		j.add(errors.New("some releases take longer; they go on"))
	}
}

func (j *joined) err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.errs...)
}
