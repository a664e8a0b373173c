// Package link is the part of rtnetlink that Fairlead needs, each call one
// message where the kernel allows it: look-ups without VF data, VF knobs of one
// PF, links born inside another namespace, moves that carry the final name,
// addresses and routes.
//
// It decides nothing: which knob to write, in which order, and what to undo is
// for pkg/attach and pkg/profile. It reads no sysfs; links are found by name,
// index, or the PCI address the kernel reports in Link.ParentDev.
//
// Every error is an *Error and keeps the kernel's errno:
//
//	errors.Is(err, link.ErrNotFound)     // no such link, address or route
//	errors.Is(err, unix.EADDRNOTAVAIL)   // the errno itself
package link
