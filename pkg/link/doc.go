// Package link is the part of rtnetlink that Fairlead needs. It looks links up
// without VF data, reads and sets the settings of a PF's VFs, makes links inside
// another namespace, moves links there under their final names, sets addresses and
// routes, and says which links the host itself uses. Each call is one message if the
// kernel allows it.
//
// It decides nothing. Which setting to write, in which order, and what to undo is for
// pkg/attach and pkg/profile. Whether a link in use may be taken is for pkg/custody.
// It reads no sysfs: links are found by name, by index, or by the PCI address that the
// kernel reports in Link.ParentDev. It sees one namespace at a time: Uses does not
// know the links that pods have on top of a host's.
//
// # Settings of VFs
//
// The kernel has no question about a single VF, so VFSettings reads all of a PF. A
// caller that changes several reads once before and once after. SetVF sets all
// settings of a VF in one message.
//
//	settings, err := h.VFSettings(pf.Index)
//	if differ := device.Differ(device.AtPF, want, settings[3]); len(differ) > 0 {
//		err = h.SetVF(pf.Index, 3, want.Only(differ...))
//	}
//
// # Use of links
//
// Uses lists which links the host uses. WatchUse answers the same from memory:
//
//	uses, err := link.WatchUse(ctx)
//	for range uses.Changed() {
//		inUse, err := uses.All() // by ifindex
//	}
//
// # Errors
//
// Every error is an *Error and keeps the kernel's errno:
//
//	errors.Is(err, link.ErrNotFound)     // no such link, address or route
//	errors.Is(err, unix.EADDRNOTAVAIL)   // the errno itself
package link
