package profile

import (
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/pci"
)

// Custody says who uses a function.
type Custody interface {
	// ToChange returns the uses that a change of the function disturbs, those of its
	// netdev and of links on top of it included; nil: nobody notices the change.
	ToChange(function pci.Address) []custody.Use
}

// usedBy is the part of a sentence that follows "is".
func usedBy(uses []custody.Use) string {
	parts := make([]string, len(uses))
	for i, u := range uses {
		parts[i] = "held by " + u.Who
		if u.Kind == custody.Host || u.Kind == custody.Children {
			parts[i] = "used by " + u.Who
		}
	}
	return strings.Join(parts, ", ")
}

// pfInUse returns why a PF must not be changed, with a remedy; empty: it may be
// changed. The host's own use is no obstacle if the profile names this PF: its
// author has decided so. A pod has not.
func pfInUse(t Target, uses []custody.Use) string {
	host := func(u custody.Use) bool { return u.Kind == custody.Host }
	if t.Named {
		uses = slices.DeleteFunc(slices.Clone(uses), host)
	}
	switch {
	case len(uses) == 0:
		return ""
	case slices.ContainsFunc(uses, func(u custody.Use) bool { return !host(u) }):
		return "the PF is " + usedBy(uses) + ": free it first (delete these pods, or drain the node)"
	}
	return "the PF is " + usedBy(uses) + ": if it is to be changed all the same, name it in spec.nics.pfNames or spec.nics.pciAddresses, without a glob"
}

// confirmPF asks again right before a change: the plan may be old.
func (a *Applier) confirmPF(t Target) error {
	if reason := pfInUse(t, a.Custody.ToChange(t.PF)); reason != "" {
		return &inUseError{reason}
	}
	return nil
}

// confirmVF is confirmPF for a VF.
func (a *Applier) confirmVF(vf pci.Address, index int) error {
	if uses := a.Custody.ToChange(vf); len(uses) > 0 {
		return inUse("VF %d has just been taken: it is %s", index, usedBy(uses))
	}
	return nil
}
