package custody

import (
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Uses lists the uses of a function, in the order of the kinds. A free function has no uses.
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

// direct returns the Uses of a function, except those of its IOMMU group and of profiles.
func (v *View) direct(fn pci.Address) []Use {
	f := v.function(fn)
	uses := v.unknown(fn)
	uses = append(uses, v.hostUses(fn, f)...)
	for _, u := range v.sandboxes.byFunction[fn] {
		u.Netdev = first(f.netdevs)
		u.Ungranted = v.ungranted[u.Sandbox] && v.lacksGrant(u)
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

// allocationUses returns the allocation in the ledger, and the kubelet's grants that the
// ledger does not have: those of other resources and of an earlier ledger.
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

// lacksGrant reports whether the kubelet gave a function to a sandbox, and does not list it
// among those of the pod.
func (v *View) lacksGrant(u Use) bool {
	own := func(g Grant) bool { return g.Pod.String() == u.Pod.String() } // the kubelet names no UID
	return u.Kind == Sandbox && u.Resource != "" && !u.Named && !u.EarlierBoot && !slices.ContainsFunc(v.grants[u.Function], own)
}

// HeldWithoutGrant lists the uses by running pods that the kubelet has not listed for a while:
// it may give these functions to other pods.
func (v *View) HeldWithoutGrant() []Use {
	var uses []Use
	for fn := range v.sandboxes.byFunction {
		for _, u := range v.direct(fn) {
			if u.Ungranted {
				uses = append(uses, u)
			}
		}
	}
	slices.SortFunc(uses, func(a, b Use) int { return a.Function.Compare(b.Function) })
	return uses
}

// onlyGranted reports whether the kubelet has granted one of the node's functions to
// somebody who is not on record.
func (v *View) onlyGranted(fn pci.Address) bool {
	_, known := v.index.functions[fn]
	return known && slices.ContainsFunc(v.allocationUses(fn), func(u Use) bool { return u.Since.IsZero() })
}

// unrecorded returns the use by somebody without a record. If a sandbox holds the
// function, the open file and the missing netdev are that pod's. If the function is only
// allocated, they may be the container's, unless Confirm has just looked.
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

// held reports whether a running sandbox has the function. A sandbox of an earlier boot
// no longer runs.
func (v *View) held(fn pci.Address) bool {
	return slices.ContainsFunc(v.sandboxes.byFunction[fn], func(u Use) bool { return !u.EarlierBoot })
}

// onRecord reports whether a sandbox has the function or another member of its IOMMU
// group. With allocations, a container that the kubelet gave it to counts as well.
func (v *View) onRecord(fn pci.Address, allocations bool) bool {
	on := func(fn pci.Address) bool {
		_, allocated := v.allocations[fn]
		return v.held(fn) || allocations && (allocated || len(v.grants[fn]) > 0)
	}
	return on(fn) || slices.ContainsFunc(v.groups[v.function(fn).group], func(m sysfs.GroupMember) bool { return on(m.Address) })
}

// groupUses returns the uses of the other members of the function's IOMMU group. VFIO
// gives a group to one user, and only if no member has a kernel driver.
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

// holder returns the first use of a function that takes its whole IOMMU group.
func (v *View) holder(fn pci.Address) (Use, bool) {
	for _, u := range v.direct(fn) {
		switch u.Kind {
		case Sandbox, Release, Allocation, VFIO:
			return u, true
		}
	}
	return Use{}, false
}

// blocksVFIO reports whether a member's driver keeps VFIO from opening the group. The
// drivers of bridges and stubs do not: they use no DMA (driver_managed_dma in the kernel).
func blocksVFIO(driver string) bool {
	switch driver {
	case "", "pcieport", "shpchp", "pci-stub":
		return false
	}
	return !device.UserspaceDriver(driver)
}
