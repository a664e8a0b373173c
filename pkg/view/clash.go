package view

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/state"
)

// Clashes lists the addresses that two pods on different nodes have in the same secondary
// network. host-local allocates on each node separately, so a range that is given to several
// nodes is handed out several times (w#110).
func Clashes(states []state.State) []string {
	type place struct{ network, ip string }
	type user struct{ node, pod string }
	first := map[place]user{}
	var out []string
	for _, s := range Merge(states) {
		for _, sandbox := range s.Sandboxes {
			for _, a := range secondaries(sandbox) {
				for _, ip := range a.IPs {
					at, here := place{a.Network, ip}, user{s.Node, sandbox.Pod.String()}
					other, taken := first[at]
					if !taken {
						first[at] = here
					} else if other.node != here.node {
						out = append(out, fmt.Sprintf("network %s: %s belongs to pod %s on %s and to pod %s on %s: host-local allocates on each node separately; give each node its own range, or the pods static addresses",
							a.Network, ip, other.pod, other.node, here.pod, here.node))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// secondaries leaves out the primary network, which is the first attachment: its plugin is
// responsible for its addresses.
func secondaries(sandbox state.Sandbox) []state.Attachment {
	var out []state.Attachment
	for i, a := range sandbox.Attachments {
		if i > 0 && a.Phase != ledger.Released {
			out = append(out, a)
		}
	}
	return out
}
