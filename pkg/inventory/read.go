package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// UnreadError names the functions that could not be read, each with its cause. The snapshot
// that comes with it has their last known state, and the current state of all others.
type UnreadError struct{ Causes map[pci.Address]error }

// Error lists the functions in order of address.
func (e *UnreadError) Error() string {
	var parts []string
	for _, addr := range slices.SortedFunc(maps.Keys(e.Causes), pci.Address.Compare) {
		parts = append(parts, fmt.Sprintf("%s: %v", addr, e.Causes[addr]))
	}
	return strings.Join(parts, "; ")
}

// readAll reads the whole node, all PFs in parallel. If there is a snapshot despite the error,
// the error is an *UnreadError.
func (inv *Inventory) readAll(ctx context.Context, old *Snapshot) (*Snapshot, error) {
	functions, err := inv.opts.FS.Scan()
	if err != nil {
		return nil, err
	}
	names, err := inv.allAltNames()
	if err != nil {
		return nil, err
	}
	pfs := make([]*device.PF, len(functions.PFs))
	errs := make([]error, len(functions.PFs))
	var group errgroup.Group
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, addr := range functions.PFs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			pfs[i], errs[i] = inv.readPF(addr, names)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var found []device.PF
	unread := &UnreadError{map[pci.Address]error{}}
	for i, addr := range functions.PFs {
		pf := pfs[i]
		if errs[i] != nil {
			unread.Causes[addr], pf = errs[i], nil
			if lastRead, ok := old.PF(addr); ok {
				pf = &lastRead
			}
		}
		if pf != nil {
			found = append(found, *pf)
		}
	}
	lone, nics := inv.readAllLone(old, functions.NICs, names, unread)
	next := NewSnapshot(found, lone, nics...)
	if len(unread.Causes) > 0 {
		return next, unread
	}
	return next, nil
}

// readAllLone reads the functions that are neither a PF nor a VF of one.
func (inv *Inventory) readAllLone(old *Snapshot, functions []pci.Address, names altNamesOf, unread *UnreadError) (lone []device.VF, nics []device.PF) {
	for _, addr := range functions {
		vf, nic, err := inv.readLone(addr, names)
		if err != nil {
			unread.Causes[addr] = err
			if pf, lastRead, ok := old.VF(addr); ok && pf.Address.IsZero() {
				vf = &lastRead
			}
			if lastRead, ok := old.NIC(addr); ok {
				nic = &lastRead
			}
		}
		if vf != nil {
			lone = append(lone, *vf)
		}
		if nic != nil {
			nics = append(nics, *nic)
		}
	}
	return lone, nics
}

// altNamesOf returns the altnames of a netdev: from one dump in a full reading, from one
// request in an update.
type altNamesOf func(netdev string) []string

func (inv *Inventory) allAltNames() (altNamesOf, error) {
	if inv.opts.AltNames == nil {
		return func(string) []string { return nil }, nil
	}
	all, err := inv.opts.AltNames.All()
	if err != nil {
		return nil, fmt.Errorf("list netdevs: %w", err)
	}
	return func(netdev string) []string { return all[netdev] }, nil
}

// oneAltName treats a netdev that is not found as just renamed or moved: the event for that is
// on its way.
func (inv *Inventory) oneAltName(netdev string) []string {
	if inv.opts.AltNames == nil || netdev == "" {
		return nil
	}
	names, err := inv.opts.AltNames.Of(netdev)
	if err != nil {
		inv.opts.Log.Debug("no altnames", "netdev", netdev, "error", err)
	}
	return names
}

// readPF reads a PF and its VFs. It returns nil if the PF is gone.
func (inv *Inventory) readPF(addr pci.Address, names altNamesOf) (*device.PF, error) {
	pf, err := inv.readPFAlone(addr, names)
	if err != nil || pf == nil {
		return nil, err
	}
	if pf.VFs, err = inv.opts.FS.VFs(addr); err != nil {
		return nil, ignoreGone(err)
	}
	for i := range pf.VFs {
		pf.VFs[i].AltNames = names(pf.VFs[i].Netdev)
	}
	pf.NumVFs = len(pf.VFs) // VFs may have appeared since the PF was read; a snapshot never has two different numbers
	return pf, nil
}

func (inv *Inventory) readPFAlone(addr pci.Address, names altNamesOf) (*device.PF, error) {
	pf, err := inv.opts.FS.PF(addr)
	if err != nil {
		return nil, ignoreGone(err)
	}
	if pf.TotalVFs == 0 {
		return nil, nil
	}
	pf = inv.opts.described(pf, names)
	if inv.opts.Eswitch != nil {
		pf.EswitchMode = inv.opts.Eswitch(addr)
	}
	return &pf, nil
}

// described adds the names that sysfs does not have.
func (o *Options) described(pf device.PF, names altNamesOf) device.PF {
	pf.AltNames = names(pf.Netdev)
	if o.Names != nil {
		pf.VendorName, pf.ProductName = o.Names(pf.Vendor, pf.Device)
	}
	return pf
}

// readLone reads a function that is neither a PF nor a VF of one: a VF in a virtual machine, or a
// NIC without SR-IOV. It returns neither if the function is gone or is something else.
func (inv *Inventory) readLone(addr pci.Address, names altNamesOf) (*device.VF, *device.PF, error) {
	vf, err := inv.opts.FS.VF(addr)
	if err != nil || !vf.PF.IsZero() {
		return nil, nil, ignoreGone(err)
	}
	if knownVF(vf) {
		vf.AltNames = names(vf.Netdev)
		return &vf, nil, nil
	}
	nic, err := inv.opts.FS.NIC(addr)
	if err != nil {
		return nil, nil, ignoreGone(err)
	}
	nic = inv.opts.described(nic, names)
	return nil, &nic, nil
}

// readChanged returns old with the named functions read again.
func (inv *Inventory) readChanged(old *Snapshot, dirty map[pci.Address]bool) (*Snapshot, error) {
	pfs := old.PFs
	lone, nics := old.Lone, old.NICs
	for addr := range inv.owners(old, dirty) {
		pf, err := inv.rereadPF(old, addr, dirty)
		if err != nil {
			return nil, err
		}
		pfs = replacePF(pfs, addr, pf)
		var vf *device.VF
		var nic *device.PF
		if pf == nil {
			if vf, nic, err = inv.readLone(addr, inv.oneAltName); err != nil {
				return nil, err
			}
		}
		nics = replacePF(nics, addr, nic)
		lone = slices.DeleteFunc(slices.Clone(lone), func(vf device.VF) bool { return vf.Address == addr })
		if vf != nil {
			lone = append(lone, *vf)
		}
	}
	slices.SortFunc(lone, func(a, b device.VF) int { return a.Address.Compare(b.Address) })
	return NewSnapshot(pfs, lone, nics...), nil
}

// replacePF returns a copy of PFs, in order of address, in which now is at addr; nil: none is.
func replacePF(pfs []device.PF, addr pci.Address, now *device.PF) []device.PF {
	out := slices.DeleteFunc(slices.Clone(pfs), func(p device.PF) bool { return p.Address == addr })
	if now != nil {
		out = append(out, *now)
		slices.SortFunc(out, func(a, b device.PF) int { return a.Address.Compare(b.Address) })
	}
	return out
}

// owners maps functions to those that must be read: a VF to its PF, the former and the current
// one.
func (inv *Inventory) owners(old *Snapshot, dirty map[pci.Address]bool) map[pci.Address]bool {
	owners := map[pci.Address]bool{}
	for addr := range dirty {
		owned := false
		if pf, ok := inv.opts.FS.PFOf(addr); ok {
			owners[pf], owned = true, true
		}
		if pf, _, ok := old.VF(addr); ok && !pf.Address.IsZero() {
			owners[pf.Address], owned = true, true
		}
		if !owned {
			owners[addr] = true
		}
	}
	return owners
}

// rereadPF reads a PF's own attributes if the PF is dirty, and those of its VFs that are dirty
// or new. It keeps the others. It returns nil if the function is gone or no PF.
func (inv *Inventory) rereadPF(old *Snapshot, addr pci.Address, dirty map[pci.Address]bool) (*device.PF, error) {
	oldPF, known := old.PF(addr)
	pf := oldPF
	if !known || dirty[addr] {
		read, err := inv.readPFAlone(addr, inv.oneAltName)
		if err != nil || read == nil {
			return nil, err
		}
		pf = *read
	}
	slots, err := inv.opts.FS.VFSlots(addr)
	if err != nil {
		return nil, ignoreGone(err)
	}
	pf.VFs = make([]device.VF, 0, len(slots))
	for _, slot := range slots {
		vf, err := inv.rereadVF(old, slot, dirty)
		if err != nil {
			return nil, err
		}
		if vf != nil {
			pf.VFs = append(pf.VFs, *vf)
		}
	}
	pf.NumVFs = len(pf.VFs)
	return &pf, nil
}

func (inv *Inventory) rereadVF(old *Snapshot, slot sysfs.VFSlot, dirty map[pci.Address]bool) (*device.VF, error) {
	if _, vf, ok := old.VF(slot.Address); ok && !dirty[slot.Address] && vf.PF == slot.PF && vf.Index == slot.Index {
		return &vf, nil
	}
	vf, err := inv.opts.FS.VFAt(slot)
	if err != nil {
		return nil, ignoreGone(err)
	}
	vf.AltNames = inv.oneAltName(vf.Netdev)
	return &vf, nil
}

// ignoreGone accepts a function that was unplugged while it was read.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
