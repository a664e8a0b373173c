package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"fairlead.dev/fairlead/pkg/ledger"
)

// Kind says how a caller can deal with an error.
type Kind int

const (
	ByCause  Kind = iota // as the cause has it: see KindOf
	Invalid              // the pod, its networks or the request must be corrected
	TryAgain             // the same call may succeed later
	IO                   // the ledger cannot be read
	Unknown              // there is no such sandbox
	Internal             // a fault of Fairlead
)

// Error says which step failed, for which network.
type Error struct {
	Network, IfName string // empty if the step is not of one network
	Step            string
	Kind            Kind
	Err             error
}

func (e *Error) Error() string {
	switch {
	case e.Network == "":
		return fmt.Sprintf("%s: %v", e.Step, e.Err)
	case e.IfName == "":
		return fmt.Sprintf("network %s: %s: %v", e.Network, e.Step, e.Err)
	}
	return fmt.Sprintf("network %s (interface %s): %s: %v", e.Network, e.IfName, e.Step, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

func fail(step string, kind Kind, err error) error { return &Error{Step: step, Kind: kind, Err: err} }

// KindOf returns the kind of an error; ByCause if nothing is known of it.
func KindOf(err error) Kind {
	var (
		own    *Error
		held   *ledger.HeldError
		uplink *ledger.UplinkError
	)
	switch {
	case errors.As(err, &own) && own.Kind != ByCause:
		return own.Kind
	case errors.As(err, &held), errors.As(err, &uplink), errors.Is(err, ledger.ErrReleasing), errors.Is(err, ledger.ErrFull),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TryAgain
	}
	return ByCause
}

// PanicError is a panic in the work on one sandbox. It must not end the agent, which
// would meet the same pod again after its restart.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("internal error: %v; the agent's log has the stack: please report it", e.Value)
}

// Recovered is deferred. It turns a panic into the error that is returned.
func Recovered(err *error) {
	if value := recover(); value != nil {
		*err = &PanicError{Value: value, Stack: debug.Stack()}
	}
}

// TenantText returns an error's text without the names of other pods: the pod's owner reads it, who
// may not know of them. The log has them.
func TenantText(err error) string {
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
