package cni

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// del releases a sandbox. It needs the ledger alone: no API server, no namespace,
// no conf. It succeeds also where something could not be undone now, once that is
// recorded and will be retried: a pod does not hang in termination for it (m#669),
// and nothing is forgotten (m#1239).
func (s *Server) del(ctx context.Context, c *call) error {
	unlock, err := s.locks.lock(ctx, c.ContainerID)
	if err != nil {
		return step("waiting for an earlier call for the same sandbox", types.ErrTryAgainLater, err)
	}
	defer unlock()
	sandbox, ok, err := s.o.Ledger.Sandbox(c.ContainerID)
	if err != nil {
		return step("reading the ledger", types.ErrIOFailure, err)
	}
	if !ok {
		if !s.done.has(c.ContainerID) {
			s.delUnknown(ctx, c)
		}
		return nil
	}
	if sandbox.Pod.Name != "" {
		c.pod = sandbox.Pod
	}
	err = s.release(ctx, sandbox, c.exec, s.cniPath(c))
	if lost := (*unrecordedError)(nil); errors.As(err, &lost) {
		return step("releasing the sandbox", types.ErrTryAgainLater, err)
	}
	return nil
}

// delUnknown is the DEL of a sandbox that the ledger does not have: made before
// Fairlead was installed, or deleted already. The primary's own DEL is run once,
// by the current conf, for what it may still hold.
func (s *Server) delUnknown(ctx context.Context, c *call) {
	list, err := s.o.Primary.Conf()
	if err == nil {
		list, err = network.ResolvePrimary(list, c.conf.RuntimeConfig)
	}
	var raw json.RawMessage
	if err == nil {
		raw, err = json.Marshal(list)
	}
	if err == nil {
		sandbox := ledger.Sandbox{ID: c.ContainerID, IfName: c.IfName, Netns: c.Netns}
		err = s.delegate(sandbox, c.exec, s.cniPath(c)).release(ctx,
			ledger.Attachment{Network: list.Name, IfName: c.IfName, Kind: kindExec, Config: raw, CNIArgs: c.Args})
	}
	if err != nil {
		s.log.Warn("DEL of a sandbox that is not in the ledger: the primary network's own DEL failed", "sandbox", c.ContainerID, "error", err)
	}
}
