package agent

import (
	"context"
	"log/slog"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/kubelet"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/sysfs"
)

func newCustody(o Options, l *ledger.Ledger, inv *inventory.Inventory, links *link.Handle, k *kubelet.PodResources, log *slog.Logger) *custody.Oracle {
	return custody.New(custody.Sources{
		Ledger: l, Devices: inv, Functions: sysfs.New(o.SysRoot), Host: custody.Links(links), Kubelet: grants{k}, Log: log,
	})
}

// grants reads the devices that the kubelet has given to pods, for custody.
type grants struct{ kubelet *kubelet.PodResources }

// Grants lists the devices of all resources.
func (g grants) Grants(ctx context.Context) ([]custody.Grant, error) {
	allocated, err := g.kubelet.Allocated(ctx)
	if err != nil {
		return nil, err
	}
	var out []custody.Grant
	for resource, allocations := range allocated {
		for _, a := range allocations {
			for _, id := range a.Devices {
				out = append(out, custody.Grant{Resource: resource, DeviceID: id, Pod: ledger.PodRef{Namespace: a.Namespace, Name: a.Pod}})
			}
		}
	}
	return out, nil
}
