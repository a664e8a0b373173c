package policy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
)

// CheckIPs compares the addresses that a pod asks for with the ranges of the network, if
// the policy of the pod's namespace asks for that.
func (s Set) CheckIPs(podNamespace string, selected network.Selection, d network.Definition) error {
	p := s.For(podNamespace)
	if p == nil || p.Pods.IPs != config.IPsRange {
		return nil
	}
	v := violations{policy: "policy " + p.Name, object: objectOf(network.NetworksAnnotation, selected)}
	asked := addresses(selected)
	if len(asked) == 0 {
		return nil
	}
	ranges := rangesOf(d)
	for _, ip := range asked {
		if !slices.ContainsFunc(ranges, func(r addressRange) bool { return r.contains(ip) }) {
			v.add("ips", ip, "spec.pods.ips: range", "ask for an address, with no shorter prefix, of the network's ipam: "+describe(ranges))
		}
	}
	return v.err()
}

// addresses returns every address that a selection asks for, by whatever way.
func addresses(s network.Selection) []string {
	all := slices.Clone(s.IPs)
	for _, key := range slices.Sorted(maps.Keys(s.CNIArgs)) {
		if !ipArg(key) {
			continue
		}
		list, isList := s.CNIArgs[key].([]any)
		if !isList {
			list = []any{s.CNIArgs[key]}
		}
		for _, element := range list {
			for word := range strings.SplitSeq(text(element), ",") {
				all = append(all, strings.TrimSpace(word))
			}
		}
	}
	return all
}

// addressRange is a part of a subnet.
type addressRange struct {
	subnet      netip.Prefix
	first, last netip.Addr // zero: the subnet's
}

// contains reports whether an address, with a prefix length or not, is one of the range.
// A shorter prefix would make more of the world a neighbour of the pod.
func (r addressRange) contains(text string) bool {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Bits() < r.subnet.Bits() {
			return false
		}
		addr = prefix.Addr()
	}
	switch {
	case !r.subnet.Contains(addr):
		return false
	case r.first.IsValid() && addr.Less(r.first), r.last.IsValid() && r.last.Less(addr):
		return false
	}
	return true
}

// String writes the subnet, and the first and last address if they are not the subnet's.
func (r addressRange) String() string {
	text := r.subnet.String()
	if r.first.IsValid() {
		text += " from " + r.first.String()
	}
	if r.last.IsValid() {
		text += " to " + r.last.String()
	}
	return text
}

// rangesOf returns the ranges of the network's host-local and static. Those of other
// types are not known here.
func rangesOf(d network.Definition) []addressRange {
	var all []addressRange
	add := func(subnet, first, last string) {
		prefix, err := netip.ParsePrefix(subnet)
		if err != nil {
			return // ipam refuses it
		}
		r := addressRange{subnet: prefix.Masked()}
		r.first, _ = netip.ParseAddr(first)
		r.last, _ = netip.ParseAddr(last)
		all = append(all, r)
	}
	for _, plugin := range d.List.Plugins {
		m, err := readMember(plugin)
		if err != nil {
			continue
		}
		switch m.ipam.Type {
		case "host-local":
			add(m.ipam.Subnet, m.ipam.RangeStart, m.ipam.RangeEnd)
			for _, set := range m.ipam.Ranges {
				for _, r := range set {
					add(r.Subnet, r.RangeStart, r.RangeEnd)
				}
			}
		case "static":
			for _, a := range m.ipam.Addresses {
				add(a.Address, "", "")
			}
		}
	}
	return all
}

func describe(ranges []addressRange) string {
	if len(ranges) == 0 {
		return "it has no range that is known here"
	}
	var words []string
	for _, r := range ranges {
		words = append(words, r.String())
	}
	return strings.Join(words, ", ")
}
