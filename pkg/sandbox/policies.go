package sandbox

import (
	"context"
	"slices"

	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/policy"
)

// policies returns the policies in effect. If they cannot be read, nothing may be asked
// for: no policy would mean that everything is allowed.
func (p planner) policies() (policy.Set, error) {
	if p.o.Policies == nil {
		return policy.Set{}, nil
	}
	set, err := p.o.Policies()
	if err != nil {
		return set, fail("read the attachment policies", TryAgain, err)
	}
	return set, nil
}

// loadNetworks looks the net-attach-defs up, if the policies let the pod ask for them.
func (p planner) loadNetworks(ctx context.Context, r Request, in network.Input, all []network.Selection) error {
	set, err := p.policies()
	if err != nil {
		return err
	}
	if err := p.checkPod(set, in); err != nil {
		return err
	}
	if err := p.define(ctx, r, all, in.Definitions); err != nil {
		return err
	}
	return p.checkNetworks(set, in.Pod.Namespace, all, in.Definitions)
}

// checkPod compares the pod's annotations with the policies, before any net-attach-def
// is looked up.
func (p planner) checkPod(set policy.Set, in network.Input) error {
	asked := slices.DeleteFunc(slices.Clone(in.Selections), func(s network.Selection) bool { return s.ByDefault })
	err := set.CheckPod(policy.Request{
		Namespace: in.Pod.Namespace, Selections: asked, Default: in.Default,
		DefaultNetworkNamespace: p.defaultNetworkNamespace(in.Pod.Namespace),
	})
	if err != nil {
		return fail("check the attachment policies", Invalid, err)
	}
	return nil
}

// checkNetworks compares the net-attach-defs with the policies, and the addresses that
// the pod asks for with the ranges of its networks.
func (p planner) checkNetworks(set policy.Set, podNamespace string, all []network.Selection, definitions map[string]network.Definition) error {
	for _, s := range all {
		if s.ByDefault { // the administrator chose it, not a tenant
			continue
		}
		d := definitions[s.Network()]
		err := set.CheckNetwork(d)
		if err == nil {
			err = set.CheckIPs(podNamespace, s, d)
		}
		if err != nil {
			return &Error{Network: s.Network(), Step: "check the attachment policies", Kind: Invalid, Err: err}
		}
	}
	return nil
}
