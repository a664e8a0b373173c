package sandbox

import (
	"context"
	"errors"

	"fairlead.dev/fairlead/pkg/ledger"
)

// Release releases a sandbox. It needs only the ledger: no API server, no namespace, no
// conf. It also succeeds if something could not be undone now, once that is on record
// for a retry: a pod does not hang in termination for it (m#669), and nothing is
// forgotten (m#1239).
func (k *Keeper) Release(ctx context.Context, r Request) error {
	unlock, err := k.locks.lock(ctx, r.ID)
	if err != nil {
		return fail("wait for an earlier call for the same sandbox", TryAgain, err)
	}
	defer k.allocations.noteEnd()
	sandbox, ok, err := k.record(ctx, r)
	switch {
	case err != nil:
		unlock()
		return err
	case !ok:
		unlock()
		return nil
	case r.Queued:
		unlock()
		err = k.reconciler.releaseQueued(ctx, sandbox, k.programs(r))
	default:
		err = k.releaser.release(ctx, sandbox, k.programs(r), everything)
		unlock()
	}
	var (
		lost     *unrecordedError
		notBegun *notBegunError
	)
	if errors.As(err, &lost) || errors.As(err, &notBegun) {
		return fail("release the sandbox", TryAgain, err)
	}
	return nil
}

// notBegunError is a release that ended before it was on record.
type notBegunError struct{ cause error }

func (e *notBegunError) Error() string { return e.cause.Error() }
func (e *notBegunError) Unwrap() error { return e.cause }

// record finds the sandbox. One that the ledger does not have is released already, or was
// made before Fairlead was installed. In the second case, its networks are those that the
// meta-plugin before has recorded. Without such a record, the primary's own DEL is run by
// the current conf, for whatever it may still hold; it is retried like any other, even if
// there is no conf yet.
func (k *Keeper) record(ctx context.Context, r Request) (ledger.Sandbox, bool, error) {
	sandbox, ok, err := k.o.Ledger.Sandbox(r.ID)
	if err != nil {
		return sandbox, false, fail("read the ledger", IO, err)
	}
	if ok {
		return sandbox, true, nil
	}
	if k.released.has(r.ID) {
		return sandbox, false, nil
	}
	sandbox = ledger.Sandbox{ID: r.ID, IfName: r.IfName, Netns: ledger.Netns{Path: r.Netns}, Pod: r.Pod,
		Path: k.programs(r).path, Created: r.At}
	found, err := k.releaser.adopt(ctx, &sandbox, r.Args)
	if err != nil {
		return sandbox, false, fail("take over the sandbox of another meta-plugin", TryAgain, err)
	}
	if found {
		return sandbox, true, nil
	}
	if err := k.releaser.fill(&sandbox, r.Capabilities, r.Args); err != nil {
		k.o.Log.Warn("DEL of a sandbox that is not in the ledger: there is no primary network yet to run its DEL by; it will be retried",
			"sandbox", r.ID, "pod", r.Pod.String(), "error", err)
	}
	return sandbox, true, nil
}
