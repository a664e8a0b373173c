package device

import (
	"slices"

	"fairlead.dev/fairlead/pkg/pci"
)

// Names remembers the PFs' names, so that a selector by name follows a PF whose netdev is
// renamed, or is away because its driver changes. A name in a configuration means the NIC that
// had it when the configuration was read; a new configuration needs new Names. The zero value
// remembers nothing.
//
// Names is not safe for use by several goroutines.
type Names struct {
	pfs map[pci.Address]known
}

// known are a PF's names and link type in earlier snapshots.
type known struct {
	names    []string
	linkType string
}

// Follow remembers the PFs' names and returns the PFs with their earlier names. If no PF has an
// earlier name, it returns pfs itself. A name that another netdev has taken is no longer an
// earlier name.
func (n *Names) Follow(pfs []PF) []PF {
	taken := map[string]bool{}
	for _, pf := range pfs {
		for _, name := range pf.names() {
			taken[name] = true
		}
	}
	out := pfs
	for i, pf := range pfs {
		remembered := n.learn(pf)
		earlier := slices.DeleteFunc(slices.Clone(remembered.names), func(name string) bool { return taken[name] })
		withoutNetdev := pf.Netdev == "" && pf.LinkType != remembered.linkType
		if len(earlier) == 0 && !withoutNetdev {
			continue
		}
		if &out[0] == &pfs[0] { // leave the caller's slice unchanged
			out = slices.Clone(pfs)
		}
		out[i].EarlierNames = earlier
		if withoutNetdev {
			out[i].LinkType = remembered.linkType // the NIC is the same one
		}
	}
	return out
}

// learn adds a PF's current names, and returns all its known names.
func (n *Names) learn(pf PF) known {
	if n.pfs == nil {
		n.pfs = map[pci.Address]known{}
	}
	k := n.pfs[pf.Address]
	for _, name := range pf.names() {
		if !slices.Contains(k.names, name) {
			k.names = append(k.names, name)
		}
	}
	if pf.LinkType != "" {
		k.linkType = pf.LinkType
	}
	n.pfs[pf.Address] = k
	return k
}

// names returns all current names of the PF's netdev.
func (pf PF) names() []string {
	if pf.Netdev == "" {
		return pf.AltNames
	}
	return append([]string{pf.Netdev}, pf.AltNames...)
}
