package device

import (
	"path"
	"slices"
	"strings"
)

// Claim returns the index of the pool that has a VF: the first that selects it, or -1.
func Claim(pools []Pool, pf PF, vf VF) int { return On(pools, pf).Claim(vf) }

// Claims matches the VFs of one PF against pools. All that depends on the PF is
// decided once, when the Claims are made, and not again for each VF.
type Claims struct {
	pools [][]claim // by the pool's position, its selectors that the PF can fulfil
}

// claim is a selector that a PF fulfils, with the conditions that remain for a VF.
type claim struct {
	*Selector
	linkType string         // the PF's
	indexes  [][]IndexRange // a VF's index is in each; an empty one holds all
}

// On prepares pools for the VFs of a PF. The zero PF stands for lone VFs, as a
// virtual machine sees those that it was given.
func On(pools []Pool, pf PF) Claims {
	c := Claims{pools: make([][]claim, len(pools))}
	for i := range pools {
		c.pools[i] = pools[i].on(pf)
	}
	return c
}

// Claim returns the position of the first pool that selects the VF, or -1.
func (c Claims) Claim(vf VF) int {
	for i := range c.pools {
		if c.Selector(i, vf) != nil {
			return i
		}
	}
	return -1
}

// Selector returns the first selector of pool i that selects the VF, or nil. The
// selector's other demands, such as its driver, hold for its own VFs only.
func (c Claims) Selector(i int, vf VF) *Selector {
	for _, claim := range c.pools[i] {
		if claim.selects(vf) {
			return claim.Selector
		}
	}
	return nil
}

// Fulfilled counts the selectors of pool i that the PF fulfils.
func (c Claims) Fulfilled(i int) int { return len(c.pools[i]) }

// Match reports whether any of the pool's selectors selects the VF. Pools of another
// type than netDevice hold no VFs.
func (p Pool) Match(pf PF, vf VF) bool { return p.Selector(pf, vf) != nil }

// Selector returns the first of the pool's selectors that selects the VF, or nil.
func (p Pool) Selector(pf PF, vf VF) *Selector { return On([]Pool{p}, pf).Selector(0, vf) }

func (p Pool) on(pf PF) []claim {
	if p.Type != "" && p.Type != NetDevice {
		return nil
	}
	var claims []claim
	for i := range p.Selectors {
		if c, ok := p.Selectors[i].on(pf); ok {
			claims = append(claims, c)
		}
	}
	return claims
}

// Match reports whether the selector selects a VF of a PF. A selector without
// any field selects nothing, nor does one that sets a field of Unsupported.
func (s *Selector) Match(pf PF, vf VF) bool {
	c, ok := s.on(pf)
	return ok && c.selects(vf)
}

// on reports whether a PF fulfils its part of the selector. No PF is visible inside
// a virtual machine (pf is the zero value): NeedsPF names the fields that nothing
// fulfils there.
func (s *Selector) on(pf PF) (claim, bool) {
	c := claim{Selector: s, linkType: pf.LinkType}
	if s.empty() || len(s.Unsupported()) > 0 {
		return c, false
	}
	if len(s.PFNames) > 0 && !restrict(&c, s.PFNames, func(r PFRange) ([]IndexRange, bool) { return r.VFs, pf.hasName(r.Name) }) {
		return c, false
	}
	if len(s.RootDevices) > 0 && !restrict(&c, s.RootDevices, func(r RootRange) ([]IndexRange, bool) {
		return r.VFs, !pf.Address.IsZero() && r.PF == pf.Address
	}) {
		return c, false
	}
	if s.NIC != nil && (pf.Address.IsZero() || !s.NIC.Match(pf)) {
		return c, false
	}
	if slices.ContainsFunc(s.NotNICs, func(n NICSelector) bool { return n.Match(pf) }) {
		return c, false
	}
	if len(s.VFs) > 0 {
		c.indexes = append(c.indexes, s.VFs)
	}
	return c, true
}

// restrict adds the indexes of all entries that name the PF; false if none does.
func restrict[R any](c *claim, entries []R, of func(R) (vfs []IndexRange, names bool)) bool {
	var indexes []IndexRange
	named, all := false, false
	for _, e := range entries {
		if vfs, ok := of(e); ok {
			named, all = true, all || len(vfs) == 0
			indexes = append(indexes, vfs...)
		}
	}
	if named && !all {
		c.indexes = append(c.indexes, indexes)
	}
	return named
}

// selects reports whether a VF fulfils its part of the selector. A VF whose netdev is
// in a pod shows no link type; its PF's counts then.
func (c claim) selects(vf VF) bool {
	for _, ranges := range c.indexes {
		if !inRanges(ranges, vf.Index) {
			return false
		}
	}
	linkType := vf.LinkType
	if linkType == "" {
		linkType = c.linkType
	}
	return (len(c.PCIAddresses) == 0 || c.PCIAddresses[vf.Address]) &&
		oneOf(c.Vendors, vf.Vendor) &&
		oneOf(c.Devices, vf.Device) &&
		oneOf(c.Drivers, vf.Driver) &&
		oneOf(c.ACPIIndexes, vf.ACPIIndex) &&
		oneOf(c.LinkTypes, linkType) &&
		(!c.RDMA || len(vf.RDMADevices) > 0)
}

// MissingNames lists the PF names that the selector asks for, if no PF has any of them.
func (s *Selector) MissingNames(pfs []PF) []string {
	var names []string
	for _, r := range s.PFNames {
		names = append(names, r.Name)
	}
	has := PF.hasName
	if s.NIC != nil {
		names, has = append(names, s.NIC.PFNames...), PF.matchesName
	}
	for _, pf := range pfs {
		if slices.ContainsFunc(names, func(name string) bool { return has(pf, name) }) {
			return nil
		}
	}
	return names
}

// NeedsPF names the fields that are set and that only a VF with a visible PF can
// fulfil, in the words of the configuration.
func (s *Selector) NeedsPF() []string {
	return set([]field{{"pfNames", len(s.PFNames) > 0}, {"rootDevices", len(s.RootDevices) > 0}, {"nics", s.NIC != nil}})
}

// Unsupported names the fields that are set and that nothing on a node says about
// a VF yet, in the words of the ConfigMap. They make the selector select
// nothing, rather than more than was meant.
func (s *Selector) Unsupported() []string {
	return set([]field{
		{"ddpProfiles", len(s.DDPProfiles) > 0},
		{"pKeys", len(s.PKeys) > 0},
		{"vdpaType", s.VDPAType != ""},
		{"auxTypes", len(s.AuxTypes) > 0},
	})
}

// field is a field of a selector, and whether it is set.
type field struct {
	name string
	set  bool
}

func set(fields []field) (names []string) {
	for _, f := range fields {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

func (s *Selector) empty() bool {
	return s.NIC == nil && !s.RDMA && s.VDPAType == "" &&
		len(s.Vendors)+len(s.Devices)+len(s.Drivers)+len(s.PCIAddresses)+len(s.ACPIIndexes)+
			len(s.PFNames)+len(s.RootDevices)+len(s.LinkTypes)+len(s.DDPProfiles)+len(s.PKeys)+
			len(s.AuxTypes)+len(s.VFs) == 0
}

// Match reports whether the selector selects a PF.
func (s NICSelector) Match(pf PF) bool {
	return oneOf(s.Vendors, pf.Vendor) &&
		oneOf(s.Devices, pf.Device) &&
		oneOf(s.Drivers, pf.Driver) &&
		oneOf(s.LinkTypes, pf.LinkType) &&
		(len(s.PFNames) == 0 || slices.ContainsFunc(s.PFNames, pf.matchesName)) &&
		(len(s.PCIAddresses) == 0 || slices.ContainsFunc(s.PCIAddresses, func(pattern string) bool {
			return glob(pattern, pf.Address.String())
		})) &&
		(len(s.NUMANodes) == 0 || slices.Contains(s.NUMANodes, pf.NUMANode))
}

// hasName reports whether a PF is known by a name: that of its netdev, an altname,
// which stays when the netdev is renamed, or an earlier name.
func (pf PF) hasName(name string) bool {
	return name != "" && (pf.Netdev == name || slices.Contains(pf.AltNames, name) || slices.Contains(pf.EarlierNames, name))
}

func (pf PF) matchesName(pattern string) bool {
	match := func(name string) bool { return name != "" && glob(pattern, name) }
	return match(pf.Netdev) || slices.ContainsFunc(pf.AltNames, match) || slices.ContainsFunc(pf.EarlierNames, match)
}

// glob takes a malformed pattern for one that matches nothing: pkg/config has
// refused it with a message.
func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// oneOf holds if nothing is asked for. Ids are hexadecimal and names of drivers and
// link types are lower case: users write either.
func oneOf(wanted []string, have string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return w == have || strings.EqualFold(w, have) })
}

func inRanges(ranges []IndexRange, index int) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(r IndexRange) bool { return r.Contains(index) })
}
