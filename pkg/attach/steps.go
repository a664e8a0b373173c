package attach

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// step is one change and its reverse. do leaves alone what is as it should be
// already. undo works from the record, so that it can run in another process than
// do; it may meet a change that was made in part or not at all, or is undone
// already, and is then content. Either may be nil.
type step struct {
	name     string
	do, undo func(context.Context) error
}

type steps []step

// undoTime bounds the undoing of a Bind that failed, which goes on when the
// Bind's own context has ended: a half-made attachment must not stay.
const undoTime = 20 * time.Second

// run does all steps in order. When one fails, it and those before it are undone.
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
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		if undoErr := s[:i+1].undoAll(ctx); undoErr != nil {
			return fmt.Errorf("%w; and what was done so far could not be undone in full, it is tried again: %w", err, undoErr)
		}
		return err
	}
	return nil
}

// undoAll undoes all steps, the last first. One that fails does not keep the
// others from being tried.
func (s steps) undoAll(ctx context.Context) error { return errors.Join(s.undoEach(ctx)) }

// undoEach does so, and tells what went wrong with addresses from the rest: a VF
// without them is as good as any.
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
