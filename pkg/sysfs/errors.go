package sysfs

import "errors"

// These are the reasons that block a change. The error that wraps one of them says where, and
// what to do.
var (
	ErrDriverNotLoaded = errors.New("driver not loaded")
	ErrBusy            = errors.New("device busy")
	ErrRefused         = errors.New("refused by the kernel")
)
