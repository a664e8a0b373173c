package cni

import (
	"errors"
	"fmt"
	"strings"

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
	msg := fmt.Sprintf("fairlead: %s: %s", who, tenantText(err))
	if sandboxID == "" {
		msg = "fairlead: " + tenantText(err)
	}
	return types.NewError(errorCode(err), msg, "")
}

// tenantText is the error without names of other pods: the pod's owner reads it, who
// may not know of them. The log has them.
func tenantText(err error) string {
	text := err.Error()
	for _, e := range tree(err) {
		if t, ok := e.(interface{ TenantText() string }); ok {
			text = strings.ReplaceAll(text, e.Error(), t.TenantText())
		}
	}
	return text
}

// tree lists an error and all that it wraps, the outermost first.
func tree(err error) []error {
	all := []error{err}
	switch wrapped := err.(type) {
	case interface{ Unwrap() error }:
		if inner := wrapped.Unwrap(); inner != nil {
			all = append(all, tree(inner)...)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range wrapped.Unwrap() {
			all = append(all, tree(inner)...)
		}
	}
	return all
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
