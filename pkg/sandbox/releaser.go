package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/retry"
)

// releaser undoes sandboxes from their records.
type releaser struct {
	ledger      Ledger
	cluster     Cluster
	chains      guarded
	kernel      Kernel
	unknown     func(s ledger.Sandbox, offered map[string]any, args string) ([]planned, error)
	previous    Previous // may be nil
	guard       func(context.Context, ...pci.Address) (release func(), err error)
	recorded    func(...pci.Address) // may be nil
	info        deviceInfo
	released    *released
	allocations *allocations
	now         func() time.Time
	log         *slog.Logger
	wake        signal // of the retry loop
}

// share says which networks of a sandbox are released.
type share struct {
	onlyBuiltIn bool
	failed      map[string]error // by interface: tried just now, not to be tried again
}

var everything = share{}

// release undoes a sandbox from its record, and removes the record. Failures stay on
// record, with the time of the next try, and are returned. The caller holds the
// sandbox's lock.
func (r *releaser) release(ctx context.Context, sandbox ledger.Sandbox, p programs, s share) error {
	t, err := r.begin(sandbox, p)
	if err != nil {
		return r.keep(t, err)
	}
	t.undo(ctx, s)
	return r.settle(t)
}

// releaseBuiltIn undoes the part of a sandbox that needs no program, and makes that
// durable: its devices are then free. failed are the networks that it could not undo.
// rest reports that something is left.
func (r *releaser) releaseBuiltIn(ctx context.Context, sandbox ledger.Sandbox, p programs) (failed map[string]error, rest bool, err error) {
	t, err := r.begin(sandbox, p)
	if err != nil {
		return nil, false, r.keep(t, err)
	}
	if !slices.ContainsFunc(t.sandbox.Attachments, unreleasedProgram) {
		t.undo(ctx, everything)
		return nil, false, r.settle(t)
	}
	t.undo(ctx, share{onlyBuiltIn: true})
	r.noteReturned(t)
	if err := r.ledger.PutSandbox(t.sandbox); err != nil {
		r.log.Warn("recording that a part of a sandbox is released; it will be released again", "sandbox", sandbox.ID, "pod", sandbox.Pod.String(), "error", err)
		if t.markErr != nil {
			return nil, false, &unrecordedError{cause: t.markErr, record: err}
		}
	}
	return t.failures(), true, nil
}

// begin makes it durable that the sandbox is released: from here on it is never used
// again, whatever happens to the agent. A ledger that cannot be written (a full disk)
// is no reason to keep the devices.
func (r *releaser) begin(sandbox ledger.Sandbox, p programs) (*release, error) {
	t := &release{releaser: r, sandbox: sandbox, programs: r.searched(sandbox, p)}
	if !sandbox.Releasing {
		t.sandbox.Releasing = true
		t.markErr = r.ledger.PutSandbox(t.sandbox)
	}
	if len(t.sandbox.Attachments) == 0 {
		// A DEL came before there was a primary network: now there may be one.
		if err := r.fill(&t.sandbox, nil, ""); err != nil {
			return t, err
		}
	}
	t.held = devicesOf(t.sandbox)
	t.errs = make([]error, len(t.sandbox.Attachments))
	return t, nil
}

// fill gives a sandbox without a record the networks that it may have.
func (r *releaser) fill(sandbox *ledger.Sandbox, offered map[string]any, args string) error {
	plan, err := r.unknown(*sandbox, offered, args)
	if err != nil {
		return err
	}
	for _, n := range plan {
		a := ledger.Attachment{Network: n.Network, IfName: n.IfName, Phase: ledger.Intent, CNIArgs: n.CNIArgs, CNIVersion: n.List.CNIVersion}
		for i, plugin := range n.List.Plugins {
			a.Members = append(a.Members, ledger.Member{Type: plugin.Type, Plugin: attach.PluginBinary, Config: n.List.Member(i).JSON()})
		}
		sandbox.Attachments = append(sandbox.Attachments, a)
	}
	return nil
}

// searched looks for plugins where they were when they made the sandbox, and then in
// the given directories: one that is not found is taken for one that never ran.
func (r *releaser) searched(sandbox ledger.Sandbox, p programs) programs {
	if sandbox.Path != "" && sandbox.Path != p.path {
		p.path = sandbox.Path + ":" + p.path
	}
	return p
}

// settle removes the record, or keeps it for a retry.
func (r *releaser) settle(t *release) error {
	r.noteReturned(t)
	if err := errors.Join(t.errs...); err != nil {
		return r.keep(t, err)
	}
	if t.sandbox.Previous && r.previous != nil {
		if err := r.previous.Forget(t.sandbox); err != nil {
			return r.keep(t, fmt.Errorf("remove the files of the meta-plugin that made the sandbox: %w", err))
		}
	}
	if err := r.ledger.DeleteSandbox(t.sandbox.ID); err != nil {
		r.log.Error("a sandbox is released but its record cannot be removed; it will be released again",
			"sandbox", t.sandbox.ID, "pod", t.sandbox.Pod.String(), "error", err)
		r.wake.kick()
	}
	r.released.note(t.sandbox.ID)
	return nil
}

func (r *releaser) noteReturned(t *release) {
	still := devicesOf(t.sandbox)
	returned := slices.DeleteFunc(t.held, func(d pci.Address) bool { return slices.Contains(still, d) })
	t.held = still
	r.allocations.noteReturned(returned)
}

// devicesOf lists the devices that a sandbox holds.
func devicesOf(sandbox ledger.Sandbox) []pci.Address {
	var devices []pci.Address
	for _, h := range sandbox.Holdings() {
		if !h.Device.IsZero() && !slices.Contains(devices, h.Device) {
			devices = append(devices, h.Device)
		}
	}
	return devices
}

// retries are the pauses between the tries of a release.
const (
	firstRetry = 5 * time.Second
	maxRetry   = 5 * time.Minute
)

func backoff(attempts int) time.Duration {
	return retry.Backoff{First: firstRetry, Max: maxRetry}.After(attempts)
}

// keep records a release that failed.
func (r *releaser) keep(t *release, cause error) error {
	s := &t.sandbox
	s.Attempts++
	s.Failure = cause.Error()
	s.RetryAt = r.now().Add(backoff(s.Attempts))
	putErr := r.ledger.PutSandbox(*s)
	r.wake.kick()
	r.log.Error("releasing a sandbox failed and will be retried", "sandbox", s.ID, "pod", s.Pod.String(),
		"attempts", s.Attempts, "retryAt", s.RetryAt, "error", cause)
	if s.Attempts == 1 && s.Pod.Name != "" {
		r.cluster.Event(s.Pod, "Warning", "ReleaseFailed", fmt.Sprintf("releasing the pod's networks failed and will be retried: %v", cause))
	}
	if t.markErr != nil && putErr != nil {
		return &unrecordedError{cause: cause, record: putErr}
	}
	return cause
}

// unrecordedError is a failed release that nobody will remember: only a repeated DEL
// can help.
type unrecordedError struct{ cause, record error }

func (e *unrecordedError) Error() string {
	return fmt.Sprintf("%v; and the ledger cannot keep it for a retry: %v", e.cause, e.record)
}

func (e *unrecordedError) Unwrap() []error { return []error{e.cause, e.record} }
