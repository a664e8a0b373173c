package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/retry"
)

// statuses writes network-status annotations: once before the runtime has its answer,
// and later as long as one is owed.
type statuses struct {
	ledger  Ledger
	cluster Cluster
	locks   *locks
	info    deviceInfo
	log     *slog.Logger
	wake    signal
	failed  int // rounds since one left nothing owed; of the loop only
}

// document builds the text for the pod's annotation.
func (s *statuses) document(sandbox ledger.Sandbox, results []*types100.Result) (json.RawMessage, error) {
	var attached []network.Attached
	for i, a := range sandbox.Attachments {
		info, err := s.info.read(a)
		if err != nil {
			return nil, err
		}
		attached = append(attached, network.Attached{Network: a.Network, IfName: a.IfName, Primary: i == 0,
			Result: results[i], DeviceInfo: info, MTU: mtuOf(a), Fallback: fallbackOf(a), Behind: a.Behind})
	}
	return network.BuildStatus(attached)
}

// mtuOf returns the MTU that the record knows of; 0: none.
func mtuOf(a ledger.Attachment) int {
	mtu := 0
	for _, m := range a.Members {
		switch {
		case m.Tuning != nil && m.Tuning.Asked.MTU > 0:
			mtu = m.Tuning.Asked.MTU
		case m.Child != nil && m.Child.MTU > 0:
			mtu = m.Child.MTU
		case m.Veth != nil && m.Veth.MTU > 0:
			mtu = m.Veth.MTU
		case m.VF != nil && m.VF.Asked.MTU != nil:
			mtu = *m.VF.Asked.MTU
		case m.VF != nil && m.VF.Original.MTU != nil:
			mtu = *m.VF.Original.MTU
		}
	}
	return mtu
}

// fallbackOf returns the status entry of a fallback; nil if the attachment is not a fallback.
func fallbackOf(a ledger.Attachment) *network.FallbackStatus {
	if a.Fallback == nil || len(a.Members) == 0 {
		return nil
	}
	return &network.FallbackStatus{From: a.Fallback.From, To: a.Members[0].Plugin, Reason: a.Fallback.Reason}
}

// writeSoon tries to write the status before the runtime has its answer, for a short
// time. After that the loop goes on. Taking it off the record is no promise to anybody,
// so it waits for no disk: an agent that dies before writes the same status again.
func (s *statuses) writeSoon(ctx context.Context, sandbox ledger.Sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusBudget)
	defer cancel()
	if err := s.write(ctx, sandbox); err != nil {
		s.log.Warn("writing the network status; it will be retried", "pod", sandbox.Pod.String(), "error", err)
		s.wake.kick()
		return
	}
	s.ledger.StatusWritten(sandbox.ID, sandbox.Status)
}

// write writes the document with line breaks: users read it. No error means that
// nothing is left to do, since a refusal is final.
func (s *statuses) write(ctx context.Context, sandbox ledger.Sandbox) error {
	var text bytes.Buffer
	if err := json.Indent(&text, sandbox.Status, "", "    "); err != nil {
		return err
	}
	err := s.cluster.SetNetworkStatus(ctx, sandbox.Pod, text.String())
	switch {
	case errors.Is(err, network.ErrNotFound): // a pod that is gone needs no status
		return nil
	case errors.Is(err, network.ErrRefused):
		s.log.Error("the API server refuses the network status; the pod stays without it", "pod", sandbox.Pod.String(), "error", err)
		return nil
	}
	return err
}

func (s *statuses) loop(ctx context.Context) {
	loop(ctx, s.wake, s.round)
}

// round retries, with longer and longer pauses while the API server does not answer.
func (s *statuses) round(ctx context.Context) (pause time.Duration, again bool) {
	if !s.retry(ctx) {
		s.failed = 0
		return 0, false
	}
	s.failed++
	return retry.Backoff{First: 15 * time.Second, Max: 5 * time.Minute}.After(s.failed), true
}

// retry writes the statuses that are owed, and reports whether some still are. The
// first time-out ends the round: the API server does not answer, and each further try
// would wait for it too.
func (s *statuses) retry(ctx context.Context) (owed bool) {
	for _, e := range s.ledger.Entries() {
		if !e.OwesStatus || e.Releasing {
			continue
		}
		err := s.retryOne(ctx, e.ID)
		if err != nil {
			owed = true
			s.log.Warn("writing an owed network status; it will be retried", "pod", e.Pod.String(), "sandbox", e.ID, "error", err)
		}
		if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return owed
		}
	}
	return owed
}

// retryOne writes one status.
func (s *statuses) retryOne(ctx context.Context, id string) error {
	unlock, free := s.locks.tryLock(id)
	if !free {
		return errBusy
	}
	sandbox, ok, err := s.ledger.Sandbox(id)
	unlock() // the API server must not delay calls
	if err != nil || !ok || len(sandbox.Status) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.write(ctx, sandbox); err != nil {
		return err
	}
	s.ledger.StatusWritten(id, sandbox.Status)
	return nil
}
