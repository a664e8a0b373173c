package cni

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
)

// check verifies every attachment of a sandbox, and tells of all that are wrong.
func (s *Server) check(ctx context.Context, c *call) error {
	unlock, err := s.locks.lock(ctx, c.ContainerID)
	if err != nil {
		return step("waiting for an earlier call for the same sandbox", types.ErrTryAgainLater, err)
	}
	defer unlock()
	sandbox, ok, err := s.o.Ledger.Sandbox(c.ContainerID)
	switch {
	case err != nil:
		return step("reading the ledger", types.ErrIOFailure, err)
	case !ok:
		return step("checking", types.ErrUnknownContainer, errors.New("the sandbox is not in the ledger"))
	case sandbox.Releasing:
		return step("checking", types.ErrTryAgainLater, fmt.Errorf("the sandbox is being released: %s", sandbox.Failure))
	case !complete(sandbox):
		return step("checking", types.ErrTryAgainLater, errors.New("the sandbox's ADD was interrupted"))
	}
	d := s.delegate(sandbox, c.exec, s.cniPath(c))
	var errs []error
	for _, a := range sandbox.Attachments {
		if err := d.check(ctx, a); err != nil {
			errs = append(errs, &stepError{Network: a.Network, IfName: a.IfName, Step: "checking", Err: err})
		}
	}
	return errors.Join(errs...)
}
