package custody

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// ToAllocate returns the use that forbids the kubelet to give a VF to another container
// as a resource. If the kubelet has already given the VF as this resource, it may do so
// again: it knows when the first container has ended. Of whole functions, those that a
// profile governs are kept for their VFs.
func (v *View) ToAllocate(vf pci.Address, resource string) (Use, bool) {
	uses := v.Uses(vf)
	if profile, ok := v.governed[vf]; ok && v.function(vf).whole {
		uses = append(uses, Use{Kind: Governed, Function: vf, Who: fmt.Sprintf("profile %q", profile)})
	}
	given := slices.ContainsFunc(uses, func(u Use) bool { return u.Kind == Allocation && u.Resource == resource })
	return firstUse(uses, func(u Use) bool { return !(given && kubeletKnows(u, resource)) })
}

// kubeletKnows reports whether a use is that of a container to which the kubelet gave
// the VF as a resource, or follows from it. The kubelet does not know of a pod that named
// the VF itself, nor of one that it does not list any more: it believes that the VF is free.
func kubeletKnows(u Use, resource string) bool {
	switch u.Kind {
	case Allocation, Sandbox:
		return u.Resource == resource && !u.Named && !u.Ungranted
	case Group, GroupDriver, Governed:
		return true
	}
	return false
}

// ToAttach returns the use that forbids a sandbox to get a function. Given means that
// the kubelet gave the function to this pod.
func (v *View) ToAttach(fn pci.Address, sandboxID string, pod ledger.PodRef, given bool) (Use, bool) {
	uses := v.Uses(fn)
	for _, vf := range v.function(fn).vfs { // moving a PF cuts off its VFs
		uses = append(uses, v.direct(vf)...)
	}
	return firstUse(uses, func(u Use) bool {
		switch u.Kind {
		case Sandbox, Release:
			return u.Sandbox != sandboxID || u.Function != fn
		case Allocation:
			return !given
		case Group:
			return !given && u.Pod != pod // Allocate looked at the group
		}
		return true
	})
}

// ToChange lists the uses that a change of a function would disturb. For a PF these are
// the uses of its netdev (Use.Function is the PF) and of its VFs (Use.Function is a VF).
func (v *View) ToChange(fn pci.Address) []Use {
	uses := v.Uses(fn)
	for _, vf := range v.function(fn).vfs {
		uses = append(uses, v.Uses(vf)...)
	}
	return slices.DeleteFunc(uses, func(u Use) bool {
		return u.Kind == Change || u.Kind == GroupDriver || u.EarlierBoot
	})
}

// ToCarry returns the use that forbids a macvlan, ipvlan or VLAN link of a pod on a
// netdev: another pod has the netdev's function, or may get it at any time. The host's
// own use of the netdev is no obstacle. Neither is the pool of a whole function: the link
// keeps the kubelet from giving the function away.
func (v *View) ToCarry(netdev, sandboxID string) (Use, bool) {
	fn, ok := v.Function(netdev)
	if !ok {
		return Use{}, false
	}
	uses := v.Uses(fn)
	if resource, ok := v.pooled[fn]; ok && !v.function(fn).whole {
		uses = append(uses, Use{Kind: Pool, Function: fn, Netdev: netdev, Resource: resource, Who: "the pool of " + resource})
	}
	return firstUse(uses, func(u Use) bool {
		switch u.Kind {
		case Host, Children:
			return false
		case Unknown:
			return u.Who != hostSource
		}
		return sandboxID == "" || u.Sandbox != sandboxID
	})
}

func firstUse(uses []Use, counts func(Use) bool) (Use, bool) {
	if i := slices.IndexFunc(uses, counts); i >= 0 {
		return uses[i], true
	}
	return Use{}, false
}
