// Package link is the part of rtnetlink that Fairlead needs. It can
//
//   - look up links, without VF data
//   - read and set the settings of a PF's VFs
//   - make links inside another namespace, and move links there
//   - set addresses, routes and rules: Handle.IP
//   - make bridges and veth pairs: Handle.Bridges
//   - limit the rates of links: Handle.Shaping
//   - report which links the host itself uses
//
// Each call is one message if the kernel allows it.
//
// The package decides nothing. Which settings to write, and how to undo them, is decided by
// pkg/attach and pkg/profile. Whether a link in use may be taken is decided by pkg/custody.
// The package reads no sysfs: links are found by name, by index, or by the PCI address in
// Link.ParentDev. It sees one namespace at a time: Uses does not see the links that pods
// have on top of a host link.
//
// # Settings of VFs
//
// The kernel cannot be asked about a single VF, so VFs reads all VFs of a PF. A caller that
// changes several VFs reads once before and once after. SetVF sets all settings of a VF in
// one message.
//
//	settings, err := h.VFs(pf.Index)
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
