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
	switch {
	case ok:
		if sandbox.Pod.Name != "" {
			c.pod = sandbox.Pod
		}
		err = s.release(ctx, sandbox, c.exec, s.cniPath(c))
	case s.done.has(c.ContainerID):
		return nil
	default:
		err = s.delUnknown(ctx, c)
	}
	if lost := (*unrecordedError)(nil); errors.As(err, &lost) {
		return step("releasing the sandbox", types.ErrTryAgainLater, err)
	}
	return nil
}

// delUnknown is the DEL of a sandbox that the ledger does not have: made before
// Fairlead was installed, or deleted already. The primary's own DEL is run, by the
// current conf, for what it may still hold; it is retried like any other.
func (s *Server) delUnknown(ctx context.Context, c *call) error {
	list, err := s.o.Primary.Conf()
	if err == nil {
		list, err = network.ResolvePrimary(list, c.conf.RuntimeConfig)
	}
	var raw json.RawMessage
	if err == nil {
		raw, err = json.Marshal(list)
	}
	if err != nil {
		s.log.Warn("DEL of a sandbox that is not in the ledger: there is no primary network to run its DEL by", "sandbox", c.ContainerID, "error", err)
		return nil
	}
	return s.release(ctx, ledger.Sandbox{
		ID: c.ContainerID, IfName: c.IfName, Netns: c.Netns, Pod: c.pod, Path: s.cniPath(c), Created: c.at,
		Attachments: []ledger.Attachment{{Network: list.Name, IfName: c.IfName, Kind: kindExec, Phase: ledger.Intent, Config: raw, CNIArgs: c.Args}},
	}, c.exec, s.cniPath(c))
}
