package agent

import (
	"slices"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
)

// uplinks lists the netdevs of the PFs whose VFs back a resource, for a fallback: first those
// with a carrier, then by address. If the resource has no VFs on this node, the PFs on which a
// profile would create them count.
func (n *node) uplinks(resource string) []string {
	snapshot, model := n.declaredFor(n.inv.Snapshot())
	return uplinks(snapshot, model, resource)
}

func uplinks(snapshot *inventory.Snapshot, model config.Model, resource string) []string {
	var up, down []string
	for _, pf := range snapshot.PFs {
		if pf.Netdev == "" || !backs(model, resource, pf) {
			continue
		}
		if pf.Carrier {
			up = append(up, pf.Netdev)
		} else {
			down = append(down, pf.Netdev)
		}
	}
	return append(up, down...)
}

func backs(model config.Model, resource string, pf device.PF) bool {
	claims := device.On(model.Pools, pf)
	for _, vf := range pf.VFs {
		if i := claims.Claim(vf); i >= 0 && model.Pools[i].Resource == resource {
			return true
		}
	}
	for _, p := range model.Profiles {
		if p.NICs.Match(pf) && slices.ContainsFunc(p.Groups, func(g config.VFGroup) bool { return g.Resource == resource }) {
			return true
		}
	}
	return false
}
