package sysfs

import "errors"

// What stands in the way of a change; the error that wraps one of these says
// where and what to do.
var (
	ErrDriverNotLoaded = errors.New("driver not loaded")
	ErrBusy            = errors.New("device busy")
	ErrRefused         = errors.New("refused by the kernel")
)
