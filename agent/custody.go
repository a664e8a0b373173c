package agent

import (
	"context"
	"log/slog"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/kubelet"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

func newCustody(o Options, l *ledger.Ledger, inv *inventory.Inventory, links *link.Handle, k *kubelet.PodResources, log *slog.Logger) *custody.Oracle {
	return custody.New(custody.Sources{
		Ledger: l, Devices: inv, Functions: sysfs.New(o.SysRoot), Host: custody.Links(links), Kubelet: grants{k}, Log: log,
	})
}

// grants is the kubelet's account of devices as custody reads it.
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

// reportingLedger is the ledger as the CNI server changes it: custody hears of each
// change before the call that made it goes on.
type reportingLedger struct {
	*ledger.Ledger
	custody *custody.Oracle
}

// PutSandbox records a sandbox.
func (l reportingLedger) PutSandbox(s ledger.Sandbox) error {
	return l.report(s.ID, l.Ledger.PutSandbox(s))
}

// UpdateSandbox changes a record.
func (l reportingLedger) UpdateSandbox(id string, change func(*ledger.Sandbox) error) error {
	return l.report(id, l.Ledger.UpdateSandbox(id, change))
}

// DeleteSandbox removes a record.
func (l reportingLedger) DeleteSandbox(id string) error {
	return l.report(id, l.Ledger.DeleteSandbox(id))
}

// DeleteAllocations removes allocations.
func (l reportingLedger) DeleteAllocations(stale []ledger.Allocation) error {
	err := l.Ledger.DeleteAllocations(stale)
	var devices []pci.Address
	for _, a := range stale {
		devices = append(devices, a.Device)
	}
	if err == nil && len(devices) > 0 {
		l.custody.AllocationsChanged(devices...)
	}
	return err
}

func (l reportingLedger) report(id string, err error) error {
	if err == nil {
		l.custody.SandboxChanged(id)
	}
	return err
}
