package cni

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// stepError is an error of the door itself: a request that cannot be read, a STATUS.
type stepError struct {
	step string
	code uint // CNI error code
	err  error
}

func (e *stepError) Error() string { return fmt.Sprintf("%s: %v", e.step, e.err) }
func (e *stepError) Unwrap() error { return e.err }

func failed(step string, code uint, err error) error {
	return &stepError{step: step, code: code, err: err}
}

// cniError makes the error that the runtime gets, and that the kubelet shows in the
// pod's events.
func cniError(err error, pod ledger.PodRef, sandboxID string) *types.Error {
	who := "sandbox " + sandboxID
	if pod.Name != "" {
		who = fmt.Sprintf("pod %s (sandbox %s)", pod, ledger.ShortID(sandboxID))
	}
	msg := fmt.Sprintf("fairlead: %s: %s", who, sandbox.TenantText(err))
	if sandboxID == "" {
		msg = "fairlead: " + sandbox.TenantText(err)
	}
	return types.NewError(errorCode(err), msg, "")
}

// errorCode is the CNI code of the keeper's kinds.
func errorCode(err error) uint {
	if own := (*stepError)(nil); errors.As(err, &own) {
		return own.code
	}
	switch sandbox.KindOf(err) {
	case sandbox.Invalid:
		return types.ErrInvalidNetworkConfig
	case sandbox.TryAgain:
		return types.ErrTryAgainLater
	case sandbox.IO:
		return types.ErrIOFailure
	case sandbox.Unknown:
		return types.ErrUnknownContainer
	case sandbox.Internal:
		return types.ErrInternal
	}
	if errors.Is(err, errHungUp) {
		return types.ErrTryAgainLater
	}
	if plugins := (*types.Error)(nil); errors.As(err, &plugins) && plugins.Code != 0 {
		return plugins.Code
	}
	return types.ErrInternal
}
