package custody

import (
	"cmp"
	"maps"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// sandboxes has the uses of all sandboxes, indexed by user and by used object. One that
// is in a View is never changed.
type sandboxes struct {
	byID       map[string][]Use
	byFunction map[pci.Address][]Use
	byNetdev   map[string][]Use // Children
	vlanLinks  map[string]int   // netdevs made for children → how many
}

func recorded(all []ledger.Entry) sandboxes {
	s := sandboxes{map[string][]Use{}, map[pci.Address][]Use{}, map[string][]Use{}, map[string]int{}}
	for _, e := range all {
		s.add(e.ID, usesOf(e))
	}
	return s
}

// with returns a copy of s in which a sandbox has these uses.
func (s sandboxes) with(id string, uses []Use) sandboxes {
	next := sandboxes{maps.Clone(s.byID), maps.Clone(s.byFunction), maps.Clone(s.byNetdev), maps.Clone(s.vlanLinks)}
	for _, u := range s.byID[id] {
		if u.Kind == Children {
			drop(next.byNetdev, u.Netdev, id)
			next.vlanLinks[u.vlanLink]--
		} else {
			drop(next.byFunction, u.Function, id)
		}
	}
	delete(next.byID, id)
	next.add(id, uses)
	return next
}

func (s sandboxes) add(id string, uses []Use) {
	if len(uses) == 0 {
		return
	}
	s.byID[id] = uses
	for _, u := range uses {
		if u.Kind == Children {
			s.byNetdev[u.Netdev] = insert(s.byNetdev[u.Netdev], u)
			s.vlanLinks[u.vlanLink]++
		} else {
			s.byFunction[u.Function] = insert(s.byFunction[u.Function], u)
		}
	}
}

// drop removes the uses of a sandbox. Like insert, it makes a new slice, because an older
// View has the old one.
func drop[K comparable](m map[K][]Use, key K, id string) {
	rest := slices.DeleteFunc(slices.Clone(m[key]), func(u Use) bool { return u.Sandbox == id })
	if len(rest) == 0 {
		delete(m, key)
		return
	}
	m[key] = rest
}

// insert keeps uses in order of sandbox and interface, so that equal facts make equal
// Views.
func insert(uses []Use, u Use) []Use {
	i, _ := slices.BinarySearchFunc(uses, u, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Sandbox, b.Sandbox), cmp.Compare(a.IfName, b.IfName))
	})
	return slices.Insert(slices.Clone(uses), i, u)
}

// usesOf returns the uses of a sandbox.
func usesOf(s ledger.Entry) []Use {
	var uses []Use
	for _, h := range s.Holdings {
		use := Use{
			Kind: Sandbox, Who: "pod " + s.Pod.String() + " (" + h.IfName + ")", Pod: s.Pod, Sandbox: s.ID, IfName: h.IfName,
			Resource: h.Resource, Since: s.Created, EarlierBoot: s.EarlierBoot,
		}
		if !h.Device.IsZero() && !holdsFunction(uses, h.Device) { // several members of a chain may have one device
			held := use
			held.Function, held.Returns, held.Named = h.Device, h.Original, h.Named
			if s.Releasing && s.Failure != "" {
				held.Kind, held.Failure, held.Attempts = Release, s.Failure, s.Attempts
			}
			uses = append(uses, held)
		}
		if h.Uplink != "" {
			use.Kind, use.Netdev, use.vlanLink = Children, h.Uplink, h.VLANLink
			uses = append(uses, use)
		}
	}
	return uses
}

func holdsFunction(uses []Use, fn pci.Address) bool {
	return slices.ContainsFunc(uses, func(u Use) bool { return u.Kind != Children && u.Function == fn })
}
