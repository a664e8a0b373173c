package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/device"
)

// DefaultPrefix is the resource prefix if none is declared or configured.
const DefaultPrefix = "fairlead.dev"

// Build makes one Model of everything that was declared: the profiles whose
// nodeSelector this node's labels satisfy, and the pools of the device plugin's
// ConfigMap before the profiles' own. A resource without prefix gets the
// default one.
func Build(declared []Declaration, pools []device.Pool, nodeLabels map[string]string, defaultPrefix string) (Model, error) {
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
		all = append(all, profilePools(d, here)...)
	}
	if m.Pools, err = mergePools(all, defaultPrefix); err != nil {
		return Model{}, err
	}
	return m, nil
}

// selectDeclarations returns those for this node, highest priority first. That
// two profiles have one name is an error also where only one of them is for
// this node: which one a message or a status speaks of would be a guess.
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

// profilePools are a profile's pools without the PFs that a profile of a higher
// priority has: that one's groups alone say where the VFs of such a PF are.
func profilePools(d Declaration, here []Declaration) []device.Pool {
	var above []device.NICSelector
	for _, other := range here {
		if other.Priority > d.Priority {
			above = append(above, other.NICs)
		}
	}
	pools := slices.Clone(d.Pools)
	for i := range pools {
		pools[i].Selectors = slices.Clone(pools[i].Selectors)
		for j := range pools[i].Selectors {
			pools[i].Selectors[j].NotNICs = above
		}
	}
	return pools
}

// mergePools makes one pool of those that have the same resource: the kubelet
// knows one plugin for a resource, and a VF of any of their selectors is in it.
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
