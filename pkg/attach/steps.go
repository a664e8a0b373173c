package attach

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// step is one change and its reverse. do changes only what differs. undo works from
// the record, since it may run in another process than do. It succeeds as well if the
// change was made in part, was never made, or is undone already. Either may be nil.
type step struct {
	name     string
	do, undo func(context.Context) error
}

type steps []step

// undoTime bounds the undoing of an Add that failed. It goes on after the Add's own
// context has ended: nothing half-made must stay.
const undoTime = 20 * time.Second

// run does all steps in order. If one fails, it and those before it are undone.
func (s steps) run(ctx context.Context) error {
	for i, step := range s {
		if step.do == nil {
			continue
		}
		err := context.Cause(ctx)
		if err == nil {
			err = step.do(ctx)
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", step.name, err)
		ctx, cancel := undoContext(ctx)
		defer cancel()
		if undoErr := s[:i+1].undoAll(ctx); undoErr != nil {
			return &undoError{err, undoErr}
		}
		return err
	}
	return nil
}

// undoContext returns a context for the undo of a call that ctx belongs to.
func undoContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoTime)
}

// undoError is an Add that failed and could not be undone in full.
type undoError struct{ cause, undo error }

func (e *undoError) Error() string {
	return fmt.Sprintf("%v; undoing it failed too, and will be retried: %v", e.cause, e.undo)
}

func (e *undoError) Unwrap() []error { return []error{e.cause, e.undo} }

// undoAll undoes all steps, the last first. One that fails does not keep the
// others from being tried.
func (s steps) undoAll(ctx context.Context) error { return errors.Join(s.undoEach(ctx)) }

// undoEach undoes all steps. It returns errors about addresses apart from the rest: a VF
// can be given to another pod before its addresses are released.
func (s steps) undoEach(ctx context.Context) (rest, addresses error) {
	var errs []error
	for i := len(s) - 1; i >= 0; i-- {
		if s[i].undo == nil {
			continue
		}
		err := s[i].undo(ctx)
		if err == nil {
			continue
		}
		if err = fmt.Errorf("undo %s: %w", s[i].name, err); s[i].name == allocateAddresses {
			addresses = err
		} else {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...), addresses
}
