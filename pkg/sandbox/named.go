package sandbox

import (
	"cmp"
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// checkNamed refuses devices that the kubelet has not given to the pod. Who writes
// annotations and net-attach-defs is a tenant: naming a device would take it past
// quota, scheduler and the pod that the kubelet gives it to next. A pciBusID is for
// the plugin's binary and names NICs of the administrator's that no pool has; one that
// a pool does have is refused as well.
func (p planner) checkNamed(pod ledger.PodRef, n network.Planned) error {
	for _, named := range n.Named {
		pool := p.pool(named.Address)
		refused := func(why string) error {
			return &Error{Network: n.Network, IfName: n.IfName, Step: "check its device", Kind: Invalid,
				Err: fmt.Errorf("%s is %s: %s", named.By, named.Address, why)}
		}
		if !p.o.AllowNamedDevices && (!named.BusID || pool != "") {
			return refused(fmt.Sprintf("the kubelet has not given this device to pod %s; %s (the agent's --allow-named-devices permits names)",
				pod, requestRemedy(cmp.Or(n.Resource, pool))))
		}
		if n.Resource != "" && pool != n.Resource {
			return refused(fmt.Sprintf("it is not one of the network's resource %s; %s", n.Resource, requestRemedy(n.Resource)))
		}
	}
	return nil
}

func requestRemedy(resource string) string {
	if resource == "" {
		return "put the device into a pool, name the pool's resource in the net-attach-def, and request it in the pod's container resources"
	}
	return fmt.Sprintf("request %s in the pod's container resources instead of naming a device", resource)
}

func (p planner) pool(address pci.Address) string {
	if p.o.Pool == nil {
		return ""
	}
	return p.o.Pool(address)
}

// markNamed marks the members that hold a named device. The ledger then lets nobody
// else have it, not even the kubelet.
func markNamed(a *ledger.Attachment, n planned) {
	for i := range a.Members {
		m := &a.Members[i]
		m.Named = m.Named || slices.ContainsFunc(n.Named, func(d network.NamedDevice) bool { return d.Address == m.Device })
	}
}
