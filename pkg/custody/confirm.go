package custody

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Confirm reads the facts about single functions that have no events, or late ones:
// VFIO, the netdev, the host's use of it, the IOMMU group. The View that it returns
// contains them. A PF is confirmed without its VFs.
func (o *Oracle) Confirm(ctx context.Context, fns ...pci.Address) (*View, error) {
	o.grants.confirm(ctx, fns)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	readings := map[pci.Address]reading{}
	for _, fn := range fns {
		if o.src.Functions == nil {
			break
		}
		r, err := o.src.read(fn, o.View())
		if err != nil {
			return nil, err
		}
		readings[fn] = r
	}
	o.sightings.note(readings)
	v := *o.View()
	v.fresh = readings
	return &v, nil
}

func (s Sources) read(fn pci.Address, v *View) (reading, error) {
	known := v.function(fn)
	r := reading{function: function{group: s.Functions.IOMMUGroup(fn), pf: known.pf, vfs: known.vfs, whole: known.whole}, host: map[string]HostLink{}}
	if known.pf.IsZero() {
		r.pf, _ = s.Functions.PFOf(fn)
	}
	var err error
	if r.driver, err = s.Functions.Driver(fn); err != nil {
		return r, err
	}
	found, err := s.Functions.Netdevs(fn)
	if err != nil {
		return r, fmt.Errorf("list the netdevs of %s: %w", fn, err)
	}
	r.netdevs = ownNetdevs(known.netdevs, found)
	for _, name := range r.netdevs {
		if s.Host == nil {
			break
		}
		if r.host[name], err = s.Host.Of(name); err != nil {
			return r, fmt.Errorf("read the host's use of %s: %w", name, err)
		}
	}
	r.open = device.VFIODriver(r.driver) && !v.onRecord(fn, false) && s.Functions.VFIOOpen(fn)
	return r, nil
}

// ownNetdevs returns the names found, with the known altnames if the netdev still has the
// known name.
func ownNetdevs(known, found []string) []string {
	if len(known) == 0 || !slices.Contains(found, known[0]) {
		return found
	}
	all := slices.Clone(known)
	for _, name := range found {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// note publishes the findings of Confirm that have no events, so that a device that was
// refused once is not offered again.
func (s *sightings) note(readings map[pci.Address]reading) {
	s.out.update(func(next *View) bool {
		changed := false
		for fn, r := range readings {
			if r.group >= 0 && device.VFIODriver(r.driver) { // else another member may be bound to VFIO
				changed = s.readGroup(next, r.group, true) || changed
			}
			changed = s.setOpen(next, fn, r.open) || changed
			changed = s.noteNetdev(next, fn, r) || changed
		}
		return changed
	})
}

// noteNetdev publishes what Confirm read about a function's netdevs. If Confirm missed a
// netdev that the devices still list, it is looked for again later: the netdev may have
// come back without the devices noticing its absence.
func (s *sightings) noteNetdev(next *View, fn pci.Address, r reading) (changed bool) {
	if missing := r.absent(); missing != next.missing[fn] {
		next.missing = withMember(next.missing, fn, missing)
		changed = true
		if missing && !next.index.functions[fn].absent() {
			s.settled[fn] = s.src.Now().Add(s.src.Settle)
			signal(s.wake)
		}
	}
	for netdev, l := range r.host {
		if reflect.DeepEqual(next.host[netdev], l) {
			continue
		}
		host := map[string]HostLink{}
		maps.Copy(host, next.host)
		host[netdev] = l
		next.host, changed = host, true
	}
	return changed
}
