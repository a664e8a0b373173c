package custody

import (
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Uses lists who uses a function, in the order of the kinds; empty: it is free.
func (v *View) Uses(fn pci.Address) []Use {
	uses := v.direct(fn)
	if device.VFIODriver(v.function(fn).driver) {
		uses = append(uses, v.groupUses(fn)...)
	}
	if pf := v.function(fn).pf; v.changing[fn] > 0 || v.changing[pf] > 0 {
		uses = append(uses, Use{Kind: Change, Function: fn, Who: "a profile"})
	}
	return uses
}

// direct is Uses without the function's IOMMU group and without profiles.
func (v *View) direct(fn pci.Address) []Use {
	f := v.function(fn)
	uses := v.unknown(fn)
	uses = append(uses, v.hostUses(fn, f)...)
	for _, u := range v.sandboxes.byFunction[fn] {
		u.Netdev = first(f.netdevs)
		uses = append(uses, u)
	}
	allocated := v.allocationUses(fn)
	uses = append(uses, allocated...)
	for _, name := range f.netdevs {
		for _, u := range v.sandboxes.byNetdev[name] {
			u.Function = fn
			uses = append(uses, u)
		}
	}
	return append(uses, v.unrecorded(fn, f, len(allocated) > 0)...)
}

func first(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[0]
}

func (v *View) unknown(fn pci.Address) []Use {
	var uses []Use
	_, justRead := v.fresh[fn]
	for source, why := range v.unread {
		if source == hostSource && justRead {
			continue
		}
		uses = append(uses, Use{Kind: Unknown, Function: fn, Who: source, Failure: why})
	}
	slices.SortFunc(uses, func(a, b Use) int { return strings.Compare(a.Who, b.Who) })
	return uses
}

func (v *View) hostUses(fn pci.Address, f function) []Use {
	for _, name := range f.netdevs {
		l := v.hostLink(fn, name)
		onTop := slices.DeleteFunc(slices.Clone(l.OnTop), func(top string) bool { return v.sandboxes.vlanLinks[top] > 0 })
		if len(onTop) > 0 {
			l.How = link.Use{OnTop: onTop}.String()
		}
		if l.How != "" {
			return []Use{{Kind: Host, Function: fn, Netdev: name, Who: "the host", How: l.How}}
		}
	}
	return nil
}

// allocationUses has the ledger's word, and the kubelet's if it adds something: it
// knows of other resources, and of what an earlier ledger had.
func (v *View) allocationUses(fn pci.Address) []Use {
	var uses []Use
	a, recorded := v.allocations[fn]
	if recorded {
		uses = append(uses, Use{Kind: Allocation, Function: fn, Who: "a container", Resource: a.Resource, Since: a.At})
	}
	for _, g := range v.grants[fn] {
		if !recorded || g.Resource != a.Resource {
			uses = append(uses, Use{Kind: Allocation, Function: fn, Who: "pod " + g.Pod.String(), Pod: g.Pod, Resource: g.Resource})
		}
	}
	return uses
}

// unrecorded is what the node shows of users that keep no records here. A pod that
// holds the function has it open, or has its netdev, itself. So may one that it is only
// allocated to, unless Confirm has looked.
func (v *View) unrecorded(fn pci.Address, f function, allocated bool) []Use {
	if v.held(fn) {
		return nil
	}
	open, missing := v.open[fn], v.missing[fn] || f.absent() && !allocated && !v.settling[fn]
	if r, ok := v.fresh[fn]; ok {
		open, missing = r.open, f.absent()
	}
	switch {
	case device.VFIODriver(f.driver) && open:
		return []Use{{Kind: VFIO, Function: fn, Who: "a process without a record"}}
	case missing:
		return []Use{{Kind: Namespace, Function: fn, Who: "another network namespace", Driver: f.driver}}
	}
	return nil
}

// held reports whether a sandbox has the function. One of an earlier boot has no netns.
func (v *View) held(fn pci.Address) bool {
	return slices.ContainsFunc(v.sandboxes.byFunction[fn], func(u Use) bool { return !u.EarlierBoot })
}

// onRecord reports whether a sandbox, or with allocations a container, has the function
// or another of its IOMMU group.
func (v *View) onRecord(fn pci.Address, allocations bool) bool {
	on := func(fn pci.Address) bool {
		_, allocated := v.allocations[fn]
		return v.held(fn) || allocations && (allocated || len(v.grants[fn]) > 0)
	}
	return on(fn) || slices.ContainsFunc(v.groups[v.function(fn).group], func(m sysfs.GroupMember) bool { return on(m.Address) })
}

// groupUses looks at the other members of the function's IOMMU group. VFIO gives the
// group to one user, and to none while a driver of the kernel has a member.
func (v *View) groupUses(fn pci.Address) []Use {
	f := v.function(fn)
	if f.group < 0 {
		return nil
	}
	var used, drivers []Use
	for _, m := range v.groups[f.group] {
		if m.Address == fn {
			continue
		}
		if u, ok := v.holder(m.Address); ok {
			u.Kind = Group
			used = append(used, u)
		} else if blocksVFIO(m.Driver) {
			drivers = append(drivers, Use{Kind: GroupDriver, Function: m.Address, Who: "the kernel", Driver: m.Driver})
		}
	}
	return append(used, drivers...)
}

// holder is the first of those uses of a function that take its IOMMU group.
func (v *View) holder(fn pci.Address) (Use, bool) {
	for _, u := range v.direct(fn) {
		switch u.Kind {
		case Sandbox, Release, Allocation, VFIO:
			return u, true
		}
	}
	return Use{}, false
}

// blocksVFIO reports whether a member's driver keeps VFIO from the group. Bridges'
// and stub drivers leave DMA to others (the kernel's driver_managed_dma).
func blocksVFIO(driver string) bool {
	switch driver {
	case "", "pcieport", "shpchp", "pci-stub":
		return false
	}
	return !device.UserspaceDriver(driver)
}
