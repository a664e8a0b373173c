package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/pkg/ledger"
)

// stepError says which step of a call failed, for which network.
type stepError struct {
	Network, IfName string // "" where the step is of no one network
	Step            string
	Code            uint // CNI error code; 0: as the cause has it
	Err             error
}

func (e *stepError) Error() string {
	switch {
	case e.Network == "":
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	case e.IfName == "":
		return fmt.Sprintf("network %s: %s: %v", e.Network, e.Step, e.Err)
	}
	return fmt.Sprintf("network %s (interface %s): %s: %v", e.Network, e.IfName, e.Step, e.Err)
}

func (e *stepError) Unwrap() error { return e.Err }

func step(name string, code uint, err error) error {
	return &stepError{Step: name, Code: code, Err: err}
}

// cniError makes the error that the runtime gets, and the kubelet shows in the
// pod's events.
func cniError(err error, pod ledger.PodRef, sandboxID string) *types.Error {
	who := "sandbox " + sandboxID
	if pod.Name != "" {
		who = fmt.Sprintf("pod %s (sandbox %s)", pod, shortID(sandboxID))
	}
	msg := fmt.Sprintf("fairlead: %s: %v", who, err)
	if sandboxID == "" {
		msg = fmt.Sprintf("fairlead: %v", err)
	}
	return types.NewError(errorCode(err), msg, "")
}

func errorCode(err error) uint {
	var (
		stepErr *stepError
		held    *ledger.HeldError
		cniErr  *types.Error
	)
	switch {
	case errors.As(err, &stepErr) && stepErr.Code != 0:
		return stepErr.Code
	case errors.As(err, &held), errors.Is(err, ledger.ErrReleasing), errors.Is(err, ledger.ErrFull),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, errHungUp):
		return types.ErrTryAgainLater
	case errors.As(err, &cniErr) && cniErr.Code != 0:
		return cniErr.Code
	}
	return types.ErrInternal
}

// panicError is a panic of one call, which must not take the node's networking
// down with it: the agent would meet the same pod again after its restart.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string {
	return fmt.Sprintf("internal error: %v; the agent's log has the stack: please report it", e.value)
}

// caught is deferred; it turns a panic into the error that is returned.
func caught(err *error) {
	if value := recover(); value != nil {
		*err = &panicError{value: value, stack: debug.Stack()}
	}
}

// shortID is how runtimes' tools show a container id.
func shortID(id string) string {
	const digits = 13
	if len(id) > digits {
		return id[:digits]
	}
	return id
}
