package network

import "fmt"

// Interface is a secondary interface that a running pod has.
type Interface struct {
	Network string // namespace/name of the net-attach-def
	Name    string
}

// Changes compares a pod's selections with the interfaces that it has by an earlier
// annotation. It returns the selections to add, each with the name of its interface, and
// the interfaces to remove.
//
// A selection with a name means the interface of that name and network. One without a name
// means any interface of its network, the first that no other selection means: so removing
// an element from the middle of the list renames nothing. A new selection without a name
// gets net<i>, where i is the first free number from its position on. taken are names that
// the pod's other interfaces have.
func Changes(selections []Selection, have []Interface, taken []string) (add []Selection, remove []Interface, err error) {
	kept := make([]bool, len(have))
	added := matchInterfaces(selections, have, kept)
	names := map[string]string{"lo": "the loopback device"}
	for _, name := range taken {
		names[name] = "another network of the pod"
	}
	for i, h := range have {
		if kept[i] {
			names[h.Name] = "network " + h.Network
		} else {
			remove = append(remove, h)
		}
	}
	for _, i := range added {
		s := selections[i]
		if by, clash := names[s.Interface]; clash {
			return nil, nil, &SelectionError{Annotation: NetworksAnnotation, Position: s.Position, Field: "interface",
				Reason: fmt.Sprintf("%q of network %s is already the interface of %s", s.Interface, s.Network(), by), Remedy: "choose another name"}
		}
		if s.Interface != "" {
			names[s.Interface] = "network " + s.Network()
		}
	}
	for _, i := range added {
		s := selections[i]
		for n := i + 1; s.Interface == ""; n++ {
			if name := fmt.Sprintf("net%d", n); names[name] == "" {
				s.Interface = name
				names[name] = "network " + s.Network()
			}
		}
		add = append(add, s)
	}
	return add, remove, nil
}

// matchInterfaces marks the interfaces that selections mean, and returns the positions of
// the selections that mean none. Names go first: a selection without a name must not take
// an interface that another names.
func matchInterfaces(selections []Selection, have []Interface, kept []bool) (unmatched []int) {
	matched := make([]bool, len(selections))
	for _, named := range []bool{true, false} {
		for i, s := range selections {
			if (s.Interface != "") != named {
				continue
			}
			for at, h := range have {
				if !kept[at] && h.Network == s.Network() && (!named || h.Name == s.Interface) {
					matched[i], kept[at] = true, true
					break
				}
			}
		}
	}
	for i := range selections {
		if !matched[i] {
			unmatched = append(unmatched, i)
		}
	}
	return unmatched
}
