package custody

import (
	"cmp"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
)

// usesOf is what a sandbox has of the host.
func usesOf(s ledger.Sandbox) []Use {
	var uses []Use
	for _, h := range s.Holdings() {
		use := Use{
			Kind: Sandbox, Who: "pod " + s.Pod.String() + " (" + h.IfName + ")", Pod: s.Pod, Sandbox: s.ID, IfName: h.IfName,
			Resource: h.Resource, Since: s.Created, EarlierBoot: s.EarlierBoot,
		}
		if !h.Device.IsZero() {
			held := use
			held.Function, held.Returns = h.Device, h.Original
			if s.Releasing && s.Failure != "" {
				held.Kind, held.Failure, held.Attempts = Release, s.Failure, s.Attempts
			}
			uses = append(uses, held)
		}
		if h.Uplink != "" && !s.EarlierBoot { // links don't outlive a boot
			child := use
			child.Kind, child.Netdev = Children, h.Uplink
			uses = append(uses, child)
		}
	}
	return uses
}

// insert keeps the order of sandbox and interface, so that equal facts give equal
// Views. It doesn't write into uses, which an older View has.
func insert(uses []Use, u Use) []Use {
	i, _ := slices.BinarySearchFunc(uses, u, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Sandbox, b.Sandbox), cmp.Compare(a.IfName, b.IfName))
	})
	return slices.Insert(slices.Clip(slices.Clone(uses)), i, u)
}

func without(uses []Use, id string) []Use {
	return slices.DeleteFunc(slices.Clone(uses), func(u Use) bool { return u.Sandbox == id })
}
