package custody

import (
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// ToAllocate says why the kubelet must not give a VF to another container as a
// resource. What it has given as that resource is its own to give again.
func (v *View) ToAllocate(vf pci.Address, resource string) (Use, bool) {
	uses := v.Uses(vf)
	given := slices.ContainsFunc(uses, func(u Use) bool { return u.Kind == Allocation && u.Resource == resource })
	return find(uses, func(u Use) bool { return !(given && kubeletKnows(u, resource)) })
}

// kubeletKnows reports whether a use is that of a container to which the kubelet gave
// the VF as a resource, or follows from it. A pod that has it without an allocation
// named it itself, and the kubelet takes it for free.
func kubeletKnows(u Use, resource string) bool {
	switch u.Kind {
	case Allocation, Sandbox:
		return u.Resource == resource && !u.Named
	case Group, GroupDriver:
		return true
	}
	return false
}

// ToAttach says why a function must not become a sandbox's. given: the kubelet gave it
// to this pod.
func (v *View) ToAttach(fn pci.Address, sandboxID string, pod ledger.PodRef, given bool) (Use, bool) {
	uses := v.Uses(fn)
	for _, vf := range v.function(fn).vfs { // a PF takes the ground from under its VFs
		uses = append(uses, v.direct(vf)...)
	}
	return find(uses, func(u Use) bool {
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

// ToChange lists who would be hurt by a change of a function: with a PF, the users of
// its netdev (Use.Function is the PF) and those of its VFs (Use.Function is a VF).
func (v *View) ToChange(fn pci.Address) []Use {
	uses := v.Uses(fn)
	for _, vf := range v.function(fn).vfs {
		uses = append(uses, v.Uses(vf)...)
	}
	return slices.DeleteFunc(uses, func(u Use) bool {
		return u.Kind == Change || u.Kind == GroupDriver || u.EarlierBoot
	})
}

// ToCarry says why a pod's macvlan, ipvlan or VLAN link must not be made on a netdev:
// its function is another pod's, or may become so at any time. The host's own use of
// the netdev is no obstacle.
func (v *View) ToCarry(netdev, sandboxID string) (Use, bool) {
	fn, ok := v.Function(netdev)
	if !ok {
		return Use{}, false
	}
	uses := v.Uses(fn)
	if resource, ok := v.pooled[fn]; ok {
		uses = append(uses, Use{Kind: Pool, Function: fn, Netdev: netdev, Resource: resource, Who: "the pool of " + resource})
	}
	return find(uses, func(u Use) bool {
		switch u.Kind {
		case Host, Children:
			return false
		case Unknown:
			return u.Who != hostSource
		}
		return sandboxID == "" || u.Sandbox != sandboxID
	})
}

func find(uses []Use, counts func(Use) bool) (Use, bool) {
	if i := slices.IndexFunc(uses, counts); i >= 0 {
		return uses[i], true
	}
	return Use{}, false
}
