package device

import (
	"path"
	"slices"
	"strings"
)

// Claim returns the index of the first pool that selects a VF, or -1.
func Claim(pools []Pool, pf PF, vf VF) int { return On(pools, pf).Claim(vf) }

// Claims matches the VFs of one PF against pools. Conditions on the PF are evaluated once, when
// the Claims are made, not for each VF.
type Claims struct {
	pools [][]claim // for each pool, the selectors that the PF satisfies
}

// claim is a selector that a PF satisfies, with the remaining conditions for a VF.
type claim struct {
	*Selector
	linkType string         // the PF's
	indexes  [][]IndexRange // a VF's index must be in each of them; an empty one contains all
}

// On prepares pools for the VFs of a PF. The zero PF stands for lone VFs, which are VFs given
// to a virtual machine.
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

// Selector returns the first selector of pool i that selects the VF, or nil. The selector's
// other requirements, such as its driver, apply only to the VFs that it selects.
func (c Claims) Selector(i int, vf VF) *Selector {
	for _, claim := range c.pools[i] {
		if claim.selects(vf) {
			return claim.Selector
		}
	}
	return nil
}

// Addressed returns the claims of the selectors that have pciAddresses. The writer of such a
// selector has meant these functions, whatever they are.
func (c Claims) Addressed() Claims {
	out := Claims{pools: make([][]claim, len(c.pools))}
	for i, claims := range c.pools {
		for _, claim := range claims {
			if len(claim.PCIAddresses) > 0 {
				out.pools[i] = append(out.pools[i], claim)
			}
		}
	}
	return out
}

// Fulfilled counts the selectors of pool i that the PF satisfies.
func (c Claims) Fulfilled(i int) int { return len(c.pools[i]) }

// Match reports whether any of the pool's selectors selects the VF. Only pools of type
// netDevice contain VFs.
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

// Match reports whether the selector selects a VF of a PF. A selector without any field selects
// nothing. Neither does one with a field that Unsupported names.
func (s *Selector) Match(pf PF, vf VF) bool {
	c, ok := s.on(pf)
	return ok && c.selects(vf)
}

// on reports whether a PF satisfies its part of the selector. Inside a virtual machine no PF is
// visible, and pf is the zero value: NeedsPF names the fields that nothing satisfies there.
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

// restrict adds the indexes of all entries that name the PF. It returns false if no entry does.
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

// selects reports whether a VF satisfies its part of the selector. The link type of a VF whose
// netdev is in a pod cannot be read; the PF's is used. A profile's groups have only VFs.
func (c claim) selects(vf VF) bool {
	if vf.Whole && c.NIC != nil {
		return false
	}
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

// NamesFunction reports whether the selector names a function, by its address or by the name of
// its netdev. Otherwise it selects it only by its kind.
func (s *Selector) NamesFunction(pf PF) bool {
	return s.PCIAddresses[pf.Address] ||
		slices.ContainsFunc(s.PFNames, func(r PFRange) bool { return pf.hasName(r.Name) }) ||
		slices.ContainsFunc(s.RootDevices, func(r RootRange) bool { return r.PF == pf.Address })
}

// MissingNames lists the selector's PF names if no PF has any of them.
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

// NeedsPF returns the configuration's names of the fields that are set and that only a VF with
// a visible PF can satisfy.
func (s *Selector) NeedsPF() []string {
	return set([]field{{"pfNames", len(s.PFNames) > 0}, {"rootDevices", len(s.RootDevices) > 0}, {"nics", s.NIC != nil}})
}

// Unsupported returns the ConfigMap's names of the fields that are set but about which nothing
// on the node can be read yet. With such a field a selector selects nothing, rather than more
// than was meant.
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

// hasName reports whether a name belongs to the PF: the name of its netdev, an altname (which
// stays when the netdev is renamed), or an earlier name.
func (pf PF) hasName(name string) bool {
	return name != "" && (pf.Netdev == name || slices.Contains(pf.AltNames, name) || slices.Contains(pf.EarlierNames, name))
}

func (pf PF) matchesName(pattern string) bool {
	match := func(name string) bool { return name != "" && glob(pattern, name) }
	return match(pf.Netdev) || slices.ContainsFunc(pf.AltNames, match) || slices.ContainsFunc(pf.EarlierNames, match)
}

// glob treats a malformed pattern as one that matches nothing: pkg/config has rejected it with
// a message.
func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// oneOf reports whether have is among the allowed values. No allowed values means any. Users
// write hexadecimal ids, drivers and link types in either case.
func oneOf(allowed []string, have string) bool {
	return len(allowed) == 0 || slices.ContainsFunc(allowed, func(w string) bool { return w == have || strings.EqualFold(w, have) })
}

func inRanges(ranges []IndexRange, index int) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(r IndexRange) bool { return r.Contains(index) })
}
