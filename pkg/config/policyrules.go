package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/api/v1alpha1"
)

// VLANs are ids that a policy allows; 0 is untagged.
type VLANs []vlanRange

type vlanRange struct{ First, Last int } // exported fields: policies are remembered as JSON

// Contains reports whether an id is one of them.
func (v VLANs) Contains(id int) bool {
	return slices.ContainsFunc(v, func(r vlanRange) bool { return r.First <= id && id <= r.Last })
}

// String writes the ids as users do: "100-199,300".
func (v VLANs) String() string {
	var parts []string
	for _, r := range v {
		if r.First == r.Last {
			parts = append(parts, strconv.Itoa(r.First))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.First, r.Last))
		}
	}
	return strings.Join(parts, ",")
}

// parseVLANs reads "100-199,300"; empty is no id.
func parseVLANs(text string) (VLANs, error) {
	if text == "" {
		return nil, nil
	}
	var out VLANs
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || a < 0 || b > maxVLAN || a > b {
			return nil, fmt.Errorf("%q is not a range of VLANs: write \"100-199\", with ids from 0 (untagged) to %d", part, maxVLAN)
		}
		out = append(out, vlanRange{a, b})
	}
	return out, nil
}

var pluginTypeRE = regexp.MustCompile(`^(` + ProgramPrefix + `)?[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

func networkRules(r v1alpha1.NetworkRules, problem *problems) NetworkRules {
	const at = "spec.networks."
	out := NetworkRules{
		Plugins: r.Plugins, IPAM: r.IPAM, Uplinks: r.Uplinks, Modes: r.Modes, HostPaths: r.HostPaths, MaxTxRate: r.MaxTxRate,
		MAC: choice(at+"mac", r.MAC, "none", "any", problem),
	}
	problem.add(at+"plugins", checkTypes(r.Plugins))
	problem.add(at+"ipam", checkTypes(r.IPAM))
	problem.add(at+"uplinks", checkGlobs(r.Uplinks))
	problem.add(at+"modes", checkOneOf(r.Modes, allModes...))
	problem.add(at+"hostPaths", checkPaths(r.HostPaths))
	if len(out.Plugins) == 0 {
		out.Plugins = defaultPlugins
	}
	if len(out.IPAM) == 0 {
		out.IPAM = defaultIPAM
	}
	if len(out.Modes) == 0 {
		out.Modes = slices.DeleteFunc(slices.Clone(allModes), func(m string) bool { return m == "passthru" })
	}
	var err error
	out.VLANs, err = parseVLANs(r.VLANs)
	problem.add(at+"vlans", err)
	trust, err := parseOnOff(r.Trust)
	problem.add(at+"trust", err)
	spoofCheck, err := parseOnOff(r.SpoofChk)
	problem.add(at+"spoofchk", err)
	out.TrustOn, out.SpoofOff = trust != nil && *trust, spoofCheck != nil && !*spoofCheck
	if r.MaxTxRate != nil && (*r.MaxTxRate < 1 || *r.MaxTxRate > maxRateMbps) {
		problem.addf(at+"maxTxRate", "%d is out of range: 1 to %d Mbit/s, or unset", *r.MaxTxRate, maxRateMbps)
	}
	return out
}

func podRules(r v1alpha1.PodRules, problem *problems) PodRules {
	const at = "spec.pods."
	out := PodRules{
		NetworksFrom: r.NetworksFrom, IPs: r.IPs, CNIArgs: r.CNIArgs, MaxNetworks: maxNetworks,
		MAC:            choice(at+"mac", r.MAC, "none", "any", problem),
		DeviceID:       choice(at+"deviceID", r.DeviceID, "never", "allow", problem),
		PortMappings:   choice(at+"portMappings", r.PortMappings, "none", "any", problem),
		DefaultNetwork: choice(at+"defaultNetwork", r.DefaultNetwork, "never", "allow", problem),
	}
	problem.add(at+"networksFrom", checkGlobs(r.NetworksFrom))
	if len(out.NetworksFrom) == 0 {
		out.NetworksFrom = []string{OwnNamespace}
	}
	if out.IPs == "" {
		out.IPs = IPsNone
	}
	problem.add(at+"ips", checkOneOf([]string{out.IPs}, IPsNone, IPsRange, IPsAny))
	problem.add(at+"cniArgs", checkGlobs(r.CNIArgs))
	if r.MaxNetworks != nil {
		out.MaxNetworks = *r.MaxNetworks
		if out.MaxNetworks < 0 || out.MaxNetworks > maxNetworks {
			problem.addf(at+"maxNetworks", "%d is out of range: 0 to %d", out.MaxNetworks, maxNetworks)
		}
	}
	return out
}

// choice reads a field that has two values, of which the first is the default. It
// reports whether the field has the second.
func choice(field, value, no, yes string, problem *problems) bool {
	if value != "" {
		problem.add(field, checkOneOf([]string{value}, no, yes))
	}
	return value == yes
}

func checkTypes(types []string) error {
	for _, t := range types {
		if !pluginTypeRE.MatchString(t) {
			return fmt.Errorf("%q is not the type of a plugin", t)
		}
		if name, isProgram := strings.CutPrefix(t, ProgramPrefix); isProgram && !HasProgramEntry(name) && !slices.Contains(defaultIPAM, name) {
			return fmt.Errorf("%q: the entry %q is for the plugin %s and for its program alike; write that", t, name, name)
		}
	}
	return nil
}

// checkPaths refuses a path that has another spelling: configs are compared as written.
func checkPaths(paths []string) error {
	for _, p := range paths {
		if !path.IsAbs(p) || path.Clean(p) != p {
			return fmt.Errorf("%q is not an absolute path in its shortest form", p)
		}
	}
	return checkGlobs(paths)
}

// VFAllow limits who may have the VFs of a group, and which settings a network may give
// them.
type VFAllow struct {
	Namespaces []string // globs; empty: all
	VLANs      VLANs    // empty: all
	Trust      []bool   // empty: both
	SpoofCheck []bool   // empty: both
	NoMAC      bool
}

func vfAllow(a *v1alpha1.VFAllow, field string, problem *problems) *VFAllow {
	if a == nil {
		return nil
	}
	out := &VFAllow{Namespaces: a.Namespaces}
	problem.add(field+".namespaces", checkGlobs(a.Namespaces))
	var err error
	out.VLANs, err = parseVLANs(a.VLANs)
	problem.add(field+".vlans", err)
	out.Trust = onOffs(a.Trust, field+".trust", problem)
	out.SpoofCheck = onOffs(a.SpoofCheck, field+".spoofCheck", problem)
	if a.MAC != "" {
		problem.add(field+".mac", checkOneOf([]string{a.MAC}, "any", "none"))
	}
	out.NoMAC = a.MAC == "none"
	return out
}

func onOffs(words []string, field string, problem *problems) []bool {
	var out []bool
	for _, word := range words {
		on, err := parseOnOff(word)
		if err == nil && on == nil {
			err = fmt.Errorf("holds an empty text: write \"on\" or \"off\"")
		}
		if err != nil {
			problem.add(field, err)
			continue
		}
		out = append(out, *on)
	}
	return out
}
