package custody

import (
	"maps"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// readGroups reads the IOMMU groups of functions, if a member has a VFIO driver.
func (s *sightings) readGroups(next *View, old map[pci.Address]function, fns []pci.Address) (changed bool) {
	if s.src.Functions == nil {
		return false
	}
	affected := map[int]bool{}
	for _, fn := range fns {
		for _, functions := range []map[pci.Address]function{old, next.index.functions} {
			if f, ok := functions[fn]; ok && f.group >= 0 {
				affected[f.group] = true
			}
		}
	}
	if len(affected) == 0 {
		return false
	}
	vfio := map[int]bool{}
	for _, f := range next.index.functions {
		vfio[f.group] = vfio[f.group] || device.VFIODriver(f.driver)
	}
	for group := range affected {
		changed = s.readGroup(next, group, vfio[group]) || changed
	}
	return changed
}

func (s *sightings) readGroup(next *View, group int, vfio bool) (changed bool) {
	var members []sysfs.GroupMember
	if vfio {
		var err error
		if members, err = s.src.Functions.GroupMembers(group); err != nil {
			s.src.Log.Warn("cannot read the IOMMU group; its functions are treated as if each had a group of its own", "group", group, "error", err)
		}
	}
	if slices.Equal(members, next.groups[group]) {
		return false
	}
	groups := maps.Clone(next.groups)
	if groups == nil {
		groups = map[int][]sysfs.GroupMember{}
	}
	if groups[group] = members; len(members) == 0 {
		delete(groups, group)
	}
	next.groups = groups
	return true
}

// lookOpen asks VFIO about functions that nobody on record has. Asking opens the group
// for a moment, which would disturb a user on record that is about to open it.
func (s *sightings) lookOpen(next *View, fns []pci.Address) (changed bool) {
	if s.src.Functions == nil {
		return false
	}
	for _, fn := range fns {
		f, there := next.index.functions[fn]
		known := next.onRecord(fn, !next.open[fn]) // Confirm saw it open although it is allocated: look again
		open := there && device.VFIODriver(f.driver) && !known && s.src.Functions.VFIOOpen(fn)
		changed = s.setOpen(next, fn, open) || changed
	}
	return changed
}

// setOpen records whether a process has a function open, and when to look again.
func (s *sightings) setOpen(next *View, fn pci.Address, open bool) (changed bool) {
	if changed = open != next.open[fn]; changed {
		next.open = withMember(next.open, fn, open)
	}
	switch {
	case len(next.open) == 0:
		s.open = time.Time{}
	case open && changed:
		s.openGap = firstOpenGap
		s.open = s.src.Now().Add(s.openGap)
		signal(s.wake)
	case s.open.IsZero():
		s.open = s.src.Now().Add(max(s.openGap, firstOpenGap))
		signal(s.wake)
	}
	return changed
}
