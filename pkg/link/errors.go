package link

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The errors that callers distinguish. Each matches every errno of its meaning.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("exists already")
	ErrUnsupported = errors.New("not supported by the driver or kernel")
	// ErrBusy is for calls that work a moment later: drivers answer so while a device is
	// being reset, as Intel's do to VFs after changes at the PF.
	ErrBusy = errors.New("busy")
)

// Error reports a failed operation on an object, with the cause.
type Error struct {
	Op     string // "set MTU 9000 of", "create"
	Object string // "link 7", "macvlan net1"
	Err    error  // the errno, with the kernel's explanation if it gave one
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Object, e.Err) }

// Unwrap lets errors.Is and errors.As find the errno.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the package's sentinels.
func (e *Error) Is(target error) bool {
	var errno unix.Errno
	if !errors.As(e.Err, &errno) {
		return false
	}
	switch target {
	case ErrNotFound:
		// ESRCH is for a missing route. EADDRNOTAVAIL does not count: drivers also use it to
		// refuse a MAC.
		return errno == unix.ENODEV || errno == unix.ENOENT || errno == unix.ESRCH
	case ErrExists:
		return errno == unix.EEXIST
	case ErrBusy:
		return errno == unix.EBUSY || errno == unix.EAGAIN || errno == unix.ENETDOWN
	case ErrUnsupported:
		return errno == unix.EOPNOTSUPP || errno == unix.EPROTONOSUPPORT || errno == enotsupp
	}
	return false
}

// enotsupp is ENOTSUPP, which is internal to the kernel but returned by some drivers.
const enotsupp = unix.Errno(524)

func wrap(op, object string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Object: object, Err: err}
}

func linkNumber(index int) string { return fmt.Sprintf("link %d", index) }
