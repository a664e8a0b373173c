package profile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/pci"
)

// Uses says who uses functions; *custody.View is one.
type Uses interface {
	// ToChange returns the uses that a change of the function would disturb, including
	// those of its netdev and of links on top. If it returns nil, nobody is disturbed.
	ToChange(function pci.Address) []custody.Use
}

// Custody is asked before each change. The agent implements it with custody.Oracle and the
// device plugin.
type Custody interface {
	// Known returns the latest known uses, without reading anything.
	Known() Uses
	// Change keeps functions from being given to anybody until end is called. A PF stands
	// for its VFs too, including those that are made meanwhile.
	Change(ctx context.Context, functions ...pci.Address) (end func(), err error)
	// Recheck reads the functions again, because the plan may be out of date.
	Recheck(ctx context.Context, functions ...pci.Address) (Uses, error)
}

// usedBy returns the part of a sentence that follows "is".
func usedBy(uses []custody.Use) string {
	parts := make([]string, len(uses))
	for i, u := range uses {
		parts[i] = phrase(u)
	}
	return strings.Join(parts, ", ")
}

func phrase(u custody.Use) string {
	switch u.Kind {
	case custody.Host:
		return fmt.Sprintf("used by the host: %s is %s", u.Netdev, u.How)
	case custody.Children:
		return "used by " + u.Who
	case custody.Allocation:
		return fmt.Sprintf("held by %s that the kubelet gave it to as %s", u.Who, u.Resource)
	case custody.Namespace:
		return fmt.Sprintf("held by %s, or its driver %s has made no netdev", u.Who, u.Driver)
	case custody.VFIO:
		return "held open through VFIO by " + u.Who
	case custody.Release:
		return fmt.Sprintf("held by %s, whose release has failed: %s", u.Who, u.Failure)
	case custody.Group:
		return fmt.Sprintf("in one IOMMU group with %s, which is held by %s", u.Function, u.Who)
	case custody.Unknown:
		return fmt.Sprintf("not known to be free: %s: %s", u.Who, u.Failure)
	}
	return "held by " + u.Who
}

// pfInUse returns why a PF must not be changed, with a remedy. It is empty if the PF may be
// changed. Uses of its VFs do not count here. The host's own use is no obstacle if the
// profile names this PF, because its author then accepts the effect on the host.
func pfInUse(t Target, uses []custody.Use) string {
	uses = slices.DeleteFunc(slices.Clone(uses), func(u custody.Use) bool {
		return u.Function != t.PF || u.Kind == custody.Host && t.Named
	})
	switch {
	case len(uses) == 0:
		return ""
	case slices.ContainsFunc(uses, func(u custody.Use) bool { return u.Kind != custody.Host }):
		return "the PF is " + usedBy(uses) + ": free it first (delete these pods, or drain the node)"
	}
	return "the PF is " + usedBy(uses) + ": to change it anyway, name it in spec.nics.pfNames or spec.nics.pciAddresses, without a glob"
}

// checkFree returns an error if somebody uses a VF.
func checkFree(uses Uses, vf pci.Address, index int) error {
	if used := uses.ToChange(vf); len(used) > 0 {
		return &inUseError{fmt.Sprintf("VF %d has just been taken: it is %s", index, usedBy(used))}
	}
	return nil
}

// inUseError reports a PF or VF that somebody has begun to use since the plan was made.
type inUseError struct{ reason string }

func (e *inUseError) Error() string { return e.reason }
