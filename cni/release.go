package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// release undoes a sandbox from its record alone and removes the record. What
// fails stays recorded as to be released, with the error and the time of the next
// try, and the error is returned. The caller holds the sandbox's lock.
func (s *Server) release(ctx context.Context, sandbox ledger.Sandbox, exec invoke.Exec, path string) error {
	// From here on the sandbox is never used again, whatever happens to the agent. A
	// ledger that cannot be written (a full disk) is no reason to keep the devices.
	sandbox.Releasing = true
	markErr := s.o.Ledger.PutSandbox(sandbox)
	held := devicesOf(sandbox)
	errs := s.releaseAll(ctx, &sandbox, s.delegate(sandbox, exec, path))
	still := devicesOf(sandbox)
	held = slices.DeleteFunc(held, func(d pci.Address) bool { return slices.Contains(still, d) })
	if s.back.note(held, s.o.Now()) {
		s.retryLater() // to see whether the kubelet has them back as well
	}
	if err := errors.Join(errs...); err != nil {
		return s.keepForRetry(sandbox, err, markErr)
	}
	if err := s.o.Ledger.DeleteSandbox(sandbox.ID); err != nil {
		s.log.Error("a sandbox is released but its record cannot be removed; it will be released once more", "sandbox", sandbox.ID, "error", err)
		s.retryLater()
	}
	s.done.note(sandbox.ID)
	return nil
}

// devicesOf are those that a sandbox holds.
func devicesOf(sandbox ledger.Sandbox) []pci.Address {
	var devices []pci.Address
	for _, a := range sandbox.Attachments {
		if !a.Device.IsZero() && !a.DeviceBack && a.Phase != ledger.Released {
			devices = append(devices, a.Device)
		}
	}
	return devices
}

// releaseAll undoes the attachments: built-in ones side by side, the others in
// reverse order, the primary last.
func (s *Server) releaseAll(ctx context.Context, sandbox *ledger.Sandbox, d delegate) []error {
	errs := make([]error, len(sandbox.Attachments))
	releaseOne := func(i int) {
		a := &sandbox.Attachments[i]
		if a.Phase == ledger.Released {
			return
		}
		deviceBack, err := d.release(ctx, *a)
		a.DeviceBack = a.DeviceBack || deviceBack && !a.Device.IsZero()
		if err = errors.Join(err, s.devinfo.remove(*a)); err != nil {
			errs[i] = &stepError{Network: a.Network, IfName: a.IfName, Step: "releasing", Err: err}
			return
		}
		a.Phase = ledger.Released
	}
	s.deleteLinks(*sandbox)
	var group sync.WaitGroup
	for i, a := range sandbox.Attachments {
		if a.Kind != kindExec {
			group.Go(func() { releaseOne(i) })
		}
	}
	for i := len(sandbox.Attachments) - 1; i >= 0; i-- {
		if sandbox.Attachments[i].Kind == kindExec {
			releaseOne(i)
		}
	}
	group.Wait()
	return errs
}

// linkDeleter deletes all links that the built-in attachers made in a namespace,
// in the time of one (an RCU grace period, some 20 ms under the node's one lock).
type linkDeleter interface {
	DeleteLinks(netns string) error
}

// deleteLinks is for speed alone: each Release deletes what it still finds.
func (s *Server) deleteLinks(sandbox ledger.Sandbox) {
	deleter, ok := s.o.Attachers.(linkDeleter)
	several := 0
	for _, a := range sandbox.Attachments {
		if a.Kind != kindExec && a.Phase != ledger.Released {
			several++
		}
	}
	if !ok || several < 2 || sandbox.Netns == "" {
		return
	}
	if err := deleter.DeleteLinks(sandbox.Netns); err != nil {
		s.log.Warn("deleting a sandbox's links as a group; they are deleted one by one", "sandbox", sandbox.ID, "error", err)
	}
}

const (
	firstRetry = 5 * time.Second
	maxRetry   = 5 * time.Minute
)

// keepForRetry records a release that failed. markErr is the error of the earlier
// attempt to record that the sandbox is to be released.
func (s *Server) keepForRetry(sandbox ledger.Sandbox, cause, markErr error) error {
	sandbox.Attempts++
	sandbox.Failure = cause.Error()
	sandbox.RetryAt = s.o.Now().Add(backoff(sandbox.Attempts))
	putErr := s.o.Ledger.PutSandbox(sandbox)
	s.retryLater()
	s.log.Error("releasing a sandbox failed and will be retried", "sandbox", sandbox.ID, "pod", sandbox.Pod.String(),
		"attempts", sandbox.Attempts, "retryAt", sandbox.RetryAt, "error", cause)
	if sandbox.Attempts == 1 && sandbox.Pod.Name != "" {
		s.o.Cluster.Event(sandbox.Pod, "Warning", "ReleaseFailed", fmt.Sprintf("releasing the pod's networks failed and will be retried: %v", cause))
	}
	if markErr != nil && putErr != nil {
		// Neither undone nor known to be: only a repeated DEL can help.
		return &unrecordedError{cause: cause, record: putErr}
	}
	return cause
}

// unrecordedError is a failed release that nobody will remember.
type unrecordedError struct{ cause, record error }

func (e *unrecordedError) Error() string {
	return fmt.Sprintf("%v; and the ledger cannot keep it for a retry: %v", e.cause, e.record)
}

func (e *unrecordedError) Unwrap() []error { return []error{e.cause, e.record} }

func backoff(attempts int) time.Duration {
	d := firstRetry
	for range attempts - 1 {
		if d *= 2; d >= maxRetry {
			return maxRetry
		}
	}
	return d
}

// retryLater wakes the background loop.
func (s *Server) retryLater() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake, or will be
	}
}
