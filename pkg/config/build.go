package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// DefaultPrefix is the resource prefix if no other is declared or configured.
const DefaultPrefix = "fairlead.dev"

// Build joins everything that was declared into one Model: the profiles whose nodeSelector
// matches this node's labels, and the pools, with those of the device plugin's ConfigMap before
// those of the profiles. A resource without a prefix gets the default prefix.
func Build(declared []Declaration, pools []device.Pool, nodeLabels map[string]string, defaultPrefix string) (Model, error) {
	return BuildKeeping(nil, declared, pools, nodeLabels, defaultPrefix)
}

// BuildKeeping is Build for a node that already has profiles in effect. governed maps each PF
// to the name of the profile that governs it (profile.Governed). If another profile of the same
// priority also selects such a PF, the PF's VFs stay in the pools of the profile that governs
// it.
func BuildKeeping(governed map[pci.Address]string, declared []Declaration, pools []device.Pool, nodeLabels map[string]string, defaultPrefix string) (Model, error) {
	if err := checkPrefix(defaultPrefix); err != nil {
		return Model{}, fmt.Errorf("default resource prefix: %w", err)
	}
	here, err := selectDeclarations(declared, nodeLabels)
	if err != nil {
		return Model{}, err
	}
	var m Model
	all := slices.Clone(pools)
	for _, d := range here {
		p := d.Profile
		p.Groups = slices.Clone(d.Groups)
		for i := range p.Groups {
			p.Groups[i].Resource = qualify(p.Groups[i].Resource, defaultPrefix)
		}
		m.Profiles = append(m.Profiles, p)
		all = append(all, profilePools(d, here, governed)...)
	}
	if m.Pools, err = mergePools(all, defaultPrefix); err != nil {
		return Model{}, err
	}
	return m, nil
}

// selectDeclarations returns the declarations for this node, highest priority first. Two
// profiles with the same name are an error even if only one of them is for this node: a message
// or status with that name would be ambiguous.
func selectDeclarations(declared []Declaration, nodeLabels map[string]string) ([]Declaration, error) {
	sources := map[string]string{}
	var errs []error
	var here []Declaration
	for _, d := range declared {
		if other, taken := sources[d.Name]; taken {
			errs = append(errs, fmt.Errorf("%s: profile %q: declared in %s as well: give one of them another name", d.Source, d.Name, other))
			continue
		}
		sources[d.Name] = d.Source
		if selects(d.NodeSelector, nodeLabels) {
			here = append(here, d)
		}
	}
	slices.SortStableFunc(here, func(a, b Declaration) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	return here, errors.Join(errs...)
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// profilePools returns a profile's pools, without the PFs that belong to another profile: one
// of a higher priority, or one of the same priority that already governs the PF.
func profilePools(d Declaration, here []Declaration, governed map[pci.Address]string) []device.Pool {
	var others []device.NICSelector
	for _, other := range here {
		switch {
		case other.Priority > d.Priority:
			others = append(others, other.NICs)
		case other.Priority == d.Priority && other.Name != d.Name:
			others = append(others, governedBy(other, governed)...)
		}
	}
	pools := slices.Clone(d.Pools)
	for i := range pools {
		pools[i].Selectors = slices.Clone(pools[i].Selectors)
		for j := range pools[i].Selectors {
			pools[i].Selectors[j].NotNICs = others
		}
	}
	return pools
}

// governedBy returns a selector for each PF that a profile governs, if it still
// selects the PF.
func governedBy(d Declaration, governed map[pci.Address]string) []device.NICSelector {
	var out []device.NICSelector
	for _, pf := range slices.SortedFunc(maps.Keys(governed), pci.Address.Compare) {
		sel := d.NICs
		address := pf.String()
		matches := func(pattern string) bool {
			ok, err := path.Match(pattern, address)
			return ok && err == nil
		}
		if governed[pf] != d.Name || len(sel.PCIAddresses) > 0 && !slices.ContainsFunc(sel.PCIAddresses, matches) {
			continue
		}
		sel.PCIAddresses = []string{address}
		out = append(out, sel)
	}
	return out
}

// mergePools joins the pools that have the same resource, since the kubelet accepts one plugin
// per resource. A VF that any of their selectors selects is in the joined pool.
func mergePools(pools []device.Pool, defaultPrefix string) ([]device.Pool, error) {
	var out []device.Pool
	var errs []error
	for _, p := range pools {
		p.Resource = qualify(p.Resource, defaultPrefix)
		i := slices.IndexFunc(out, func(o device.Pool) bool { return o.Resource == p.Resource })
		if i < 0 {
			out = append(out, p)
			continue
		}
		if name := disagreement(out[i], p); name != "" {
			errs = append(errs, fmt.Errorf("%s: resource %q: %s has another %s: both make up one pool, so make them equal or give one another resourceName",
				p.Source, p.Resource, out[i].Source, name))
			continue
		}
		o := &out[i]
		o.Selectors = slices.Concat(o.Selectors, p.Selectors)
		if len(o.AdditionalInfo) == 0 {
			o.AdditionalInfo = p.AdditionalInfo
		}
		o.Source += "; " + p.Source
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// disagreement names the first property in which two parts of one pool differ.
func disagreement(a, b device.Pool) string {
	switch {
	case a.Type != b.Type:
		return "deviceType"
	case a.ExcludeTopology != b.ExcludeTopology:
		return "excludeTopology"
	case a.NeedVhostNet != b.NeedVhostNet:
		return "needVhostNet"
	case a.RDMA != b.RDMA:
		return "rdma"
	case a.Idle != b.Idle:
		return "idle"
	case len(a.AdditionalInfo) > 0 && len(b.AdditionalInfo) > 0:
		return "additionalInfo"
	}
	return ""
}

// qualify adds the default prefix to a resource without prefix.
func qualify(resource, prefix string) string {
	if resource == "" || strings.Contains(resource, "/") {
		return resource
	}
	return prefix + "/" + resource
}
