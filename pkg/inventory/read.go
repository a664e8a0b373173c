package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// readAll reads the whole node, PFs side by side.
func (inv *Inventory) readAll(ctx context.Context) (*Snapshot, error) {
	functions, err := inv.opts.FS.Scan()
	if err != nil {
		return nil, err
	}
	names, err := inv.allAltNames()
	if err != nil {
		return nil, err
	}
	pfs := make([]*device.PF, len(functions.PFs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i, addr := range functions.PFs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			pf, err := inv.readPF(addr, names)
			pfs[i] = pf
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var found []device.PF
	for _, pf := range pfs {
		if pf != nil {
			found = append(found, *pf)
		}
	}
	lone, err := inv.readLone(functions.NICs, names)
	if err != nil {
		return nil, err
	}
	return NewSnapshot(found, lone), nil
}

// altNamesOf gives the altnames of a netdev: from one dump in a full reading, by
// one request in an update.
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

// oneAltName takes a netdev that is not found for one that has just been renamed
// or moved: the event that says so is on its way.
func (inv *Inventory) oneAltName(netdev string) []string {
	if inv.opts.AltNames == nil || netdev == "" {
		return nil
	}
	names, err := inv.opts.AltNames.Of(netdev)
	if err != nil {
		inv.opts.Log.Debug("no altnames", "netdev", netdev, "err", err)
	}
	return names
}

// readPF reads a PF and its VFs; nil where it is gone.
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
	pf.NumVFs = len(pf.VFs) // VFs may have come since the PF was read: never two numbers in one snapshot
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
	pf.AltNames = names(pf.Netdev)
	if inv.opts.Eswitch != nil {
		pf.EswitchMode = inv.opts.Eswitch(addr)
	}
	if inv.opts.Names != nil {
		pf.VendorName, pf.ProductName = inv.opts.Names(pf.Vendor, pf.Device)
	}
	return &pf, nil
}

func (inv *Inventory) readLone(nics []pci.Address, names altNamesOf) ([]device.VF, error) {
	var lone []device.VF
	for _, addr := range nics {
		vf, err := inv.opts.FS.VF(addr)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !vf.PF.IsZero() || !knownVF(vf) {
			continue
		}
		vf.AltNames = names(vf.Netdev)
		lone = append(lone, vf)
	}
	return lone, nil
}

// readChanged is old with the named functions read anew.
func (inv *Inventory) readChanged(old *Snapshot, dirty map[pci.Address]bool) (*Snapshot, error) {
	pfs := slices.Clone(old.PFs)
	lone := old.Lone
	for addr := range inv.owners(old, dirty) {
		pf, err := inv.rereadPF(old, addr, dirty)
		if err != nil {
			return nil, err
		}
		pfs = slices.DeleteFunc(pfs, func(p device.PF) bool { return p.Address == addr })
		if pf != nil {
			pfs = append(pfs, *pf)
		}
		if pf != nil {
			continue
		}
		// Neither a PF nor a VF with a PF: a VF of its own, or gone.
		lone = slices.DeleteFunc(slices.Clone(lone), func(vf device.VF) bool { return vf.Address == addr })
		if alone, err := inv.readLone([]pci.Address{addr}, inv.oneAltName); err != nil {
			return nil, err
		} else {
			lone = append(lone, alone...)
		}
	}
	slices.SortFunc(pfs, func(a, b device.PF) int { return a.Address.Compare(b.Address) })
	slices.SortFunc(lone, func(a, b device.VF) int { return a.Address.Compare(b.Address) })
	return NewSnapshot(pfs, lone), nil
}

// owners maps functions to those to be read: VFs to their PF, as it was and as
// it is now.
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

// rereadPF reads a PF's own attributes where it is dirty itself, those of its VFs
// that are dirty or new, and takes the others over; nil where it is gone or no PF.
func (inv *Inventory) rereadPF(old *Snapshot, addr pci.Address, dirty map[pci.Address]bool) (*device.PF, error) {
	was, known := old.PF(addr)
	pf := was
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

// ignoreGone: what is unplugged while it is read is as good as unplugged before.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
