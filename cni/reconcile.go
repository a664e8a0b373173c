package cni

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// Reconcile releases what no call will release any more, and retries what failed:
// sandboxes being released, ADDs that were interrupted, sandboxes without a
// namespace whose pod is gone, allocations that no pod has. The agent calls it at
// start and every few minutes. The error joins what still fails.
func (s *Server) Reconcile(ctx context.Context) error {
	sandboxes, err := s.o.Ledger.Sandboxes()
	if err != nil {
		return err
	}
	var errs []error
	for _, sandbox := range sandboxes {
		if err := s.reconcileOne(ctx, sandbox.ID); err != nil {
			errs = append(errs, fmt.Errorf("sandbox %s of pod %s: %w", shortID(sandbox.ID), sandbox.Pod, err))
		}
	}
	errs = append(errs, s.pruneAllocations(ctx))
	return errors.Join(errs...)
}

func (s *Server) reconcileOne(ctx context.Context, id string) error {
	unlock, free := s.locks.tryLock(id)
	if !free {
		return nil // a call is at it
	}
	defer unlock()
	sandbox, ok, err := s.o.Ledger.Sandbox(id)
	if err != nil || !ok {
		return err
	}
	dead, err := s.dead(ctx, sandbox)
	switch {
	case err != nil:
		return err
	case dead == "":
		return s.owedStatus(ctx, sandbox)
	case s.o.Now().Before(sandbox.RetryAt) && !s.lastTry(sandbox).Before(s.started):
		return nil
	}
	s.log.Info("releasing a sandbox", "sandbox", id, "pod", sandbox.Pod.String(), "because", dead)
	ctx, cancel := context.WithTimeout(ctx, undoTimeout) // a plugin that hangs must not stop all repair
	defer cancel()
	return s.release(ctx, sandbox, s.o.HostExec, s.o.CNIPath)
}

// lastTry is when a release has failed last. What an agent before this one tried is
// tried again at once: a restart, perhaps of a newer release, is the remedy at hand.
func (s *Server) lastTry(sandbox ledger.Sandbox) time.Time {
	return sandbox.RetryAt.Add(-backoff(sandbox.Attempts))
}

// dead says why a sandbox is to be released; "" means it is not. A namespace that
// cannot be found is not enough: the agent may not see it. A pod that is gone is
// not enough either: its sandbox may still be stopping.
func (s *Server) dead(ctx context.Context, sandbox ledger.Sandbox) (string, error) {
	switch {
	case sandbox.Releasing:
		return "its release failed or was interrupted", nil
	case !complete(sandbox):
		return "its ADD was interrupted", nil // no call holds its lock, so none is at work
	case !s.netnsGone(sandbox.Netns):
		return "", nil
	case sandbox.Pod.Name == "":
		return "its network namespace is gone", nil
	}
	pod, err := s.o.Cluster.Pod(ctx, sandbox.Pod.Namespace, sandbox.Pod.Name, sandbox.Pod.UID)
	switch {
	case errors.Is(err, network.ErrNotFound):
		return "its network namespace and its pod are gone", nil
	case err != nil:
		return "", nil // not known: the next round may know
	case pod.Terminal:
		return "its network namespace is gone and its pod has ended", nil
	}
	return "", nil
}

func (s *Server) owedStatus(ctx context.Context, sandbox ledger.Sandbox) error {
	if len(sandbox.Status) == 0 {
		return nil
	}
	return s.retryStatus(ctx, sandbox)
}

// background retries what is due, until ctx ends: soon after something failed, and
// every so often for tombstones that a shim left while the agent was about to serve.
func (s *Server) background(ctx context.Context) {
	const pause, soon = 15 * time.Second, time.Second
	timer := time.NewTimer(soon)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			timer.Reset(soon)
			continue
		case <-timer.C:
		}
		s.ReplayTombstones(ctx)
		s.retryDue(ctx)
		s.pruneLoose(ctx)
		timer.Reset(pause)
	}
}

// retryDue is the part of Reconcile that is about failures alone.
func (s *Server) retryDue(ctx context.Context) {
	sandboxes, err := s.o.Ledger.Sandboxes()
	if err != nil {
		s.log.Error("reading the ledger", "error", err)
		return
	}
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for _, sandbox := range sandboxes {
		if !sandbox.Releasing && len(sandbox.Status) == 0 {
			continue
		}
		group.Go(func() error {
			if err := s.reconcileOne(ctx, sandbox.ID); err != nil {
				s.log.Warn("a retry failed", "sandbox", sandbox.ID, "pod", sandbox.Pod.String(), "error", err)
			}
			return nil
		})
	}
	_ = group.Wait()
}
