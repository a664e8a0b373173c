package device

import (
	"path"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/pci"
)

// Claim gives the index of the pool that a VF is in: the first that matches, -1 for none.
func Claim(pools []Pool, pf PF, vf VF) int {
	return slices.IndexFunc(pools, func(p Pool) bool { return p.Match(pf, vf) })
}

// Match reports whether any of the pool's selectors matches. Pools of another
// type than netDevice hold no VFs.
func (p Pool) Match(pf PF, vf VF) bool { return p.Selector(pf, vf) != nil }

// Selector gives the first of the pool's selectors that matches, nil for none: what
// it says beyond that, of a driver or RDMA, holds for its own VFs.
func (p Pool) Selector(pf PF, vf VF) *Selector {
	if p.Type != "" && p.Type != NetDevice {
		return nil
	}
	i := slices.IndexFunc(p.Selectors, func(s Selector) bool { return s.Match(pf, vf) })
	if i < 0 {
		return nil
	}
	return &p.Selectors[i]
}

// Match reports whether the selector selects a VF of a PF. A selector without
// any field, and one that sets a field of Unsupported, selects nothing. Where no
// PF is visible (inside a virtual machine; pf is the zero value), VFs cannot be
// told from whole NICs: only a selector that names their pciAddresses has them.
//
// A VF whose netdev lies in a pod shows no link type; its PF's counts then.
func (s Selector) Match(pf PF, vf VF) bool {
	if s.empty() || len(s.Unsupported()) > 0 {
		return false
	}
	if vf.PF.IsZero() && len(s.PCIAddresses) == 0 {
		return false
	}
	linkType := vf.LinkType
	if linkType == "" {
		linkType = pf.LinkType
	}
	return oneOf(s.Vendors, vf.Vendor) &&
		oneOf(s.Devices, vf.Device) &&
		oneOf(s.Drivers, vf.Driver) &&
		oneAddress(s.PCIAddresses, vf.Address) &&
		oneOf(s.ACPIIndexes, vf.ACPIIndex) &&
		oneOf(s.LinkTypes, linkType) &&
		anyRange(s.PFNames, vf.Index, func(name string) bool { return pf.hasName(name) }) &&
		anyRange(s.RootDevices, vf.Index, func(name string) bool { return isAddress(name, vf.PF) }) &&
		(!s.RDMA || len(vf.RDMADevices) > 0) &&
		(s.NIC == nil || !vf.PF.IsZero() && s.NIC.Match(pf)) &&
		!slices.ContainsFunc(s.NotNICs, func(n NICSelector) bool { return n.Match(pf) }) &&
		inRanges(s.VFs, vf.Index)
}

// Unsupported names the fields that are set and that nothing on a node tells
// about a VF yet, in the words of the ConfigMap. They make the selector select
// nothing, rather than more than was meant.
func (s Selector) Unsupported() []string {
	var fields []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"ddpProfiles", len(s.DDPProfiles) > 0},
		{"pKeys", len(s.PKeys) > 0},
		{"vdpaType", s.VDPAType != ""},
		{"auxTypes", len(s.AuxTypes) > 0},
	} {
		if f.set {
			fields = append(fields, f.name)
		}
	}
	return fields
}

func (s Selector) empty() bool {
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
			return isAddress(pattern, pf.Address) || glob(pattern, pf.Address.String())
		})) &&
		(len(s.NUMANodes) == 0 || slices.Contains(s.NUMANodes, pf.NUMANode))
}

// hasName reports whether a PF is known by a name: that of its netdev or an
// altname, which stays when the netdev is renamed.
func (pf PF) hasName(name string) bool {
	return name != "" && (pf.Netdev == name || slices.Contains(pf.AltNames, name))
}

func (pf PF) matchesName(pattern string) bool {
	match := func(name string) bool { return name != "" && glob(pattern, name) }
	return match(pf.Netdev) || slices.ContainsFunc(pf.AltNames, match)
}

// glob takes a malformed pattern for one that matches nothing: pkg/config has
// refused it with a message.
func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}

// oneOf holds where nothing is asked for. Ids are hexadecimal and names of
// drivers and link types are lower case: users write either.
func oneOf(wanted []string, have string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, have) })
}

func oneAddress(wanted []string, have pci.Address) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return isAddress(w, have) })
}

func isAddress(text string, addr pci.Address) bool {
	a, err := pci.ParseAddress(text)
	return err == nil && !addr.IsZero() && a == addr
}

// anyRange: several entries for one PF all count.
func anyRange(wanted []PFRange, index int, isPF func(name string) bool) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(r PFRange) bool {
		return isPF(r.Name) && inRanges(r.VFs, index)
	})
}

func inRanges(ranges []IndexRange, index int) bool {
	return len(ranges) == 0 || slices.ContainsFunc(ranges, func(r IndexRange) bool { return r.Contains(index) })
}
