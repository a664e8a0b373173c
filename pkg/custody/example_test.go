package custody_test

import (
	"context"
	"fmt"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// A View is made of facts, and asked.
func ExampleView_ToAllocate() {
	vf := pci.MustParseAddress("0000:3b:10.0")
	v := custody.NewView(custody.Facts{
		Devices: inventory.NewSnapshot(nil, []device.VF{{Address: vf, Driver: "igbvf", Netdev: "ens1f0v0", IOMMUGroup: -1}}),
		OnTop:   map[string][]string{"ens1f0v0": {"storage0"}},
	})
	if u, used := v.ToAllocate(vf, "fairlead.dev/fast"); used {
		fmt.Println(u.Reason())
		fmt.Println(u.TenantReason())
	}
	// Output:
	// the host uses its netdev ens1f0v0 below storage0: end that use, or leave the function to the host
	// the node itself uses it: use another device
}

// A write that depends on the answer is made between Guard and release.
func ExampleOracle_Guard() {
	var l *ledger.Ledger // opened before
	allocate := func(ctx context.Context, o *custody.Oracle, vf pci.Address, resource string) error {
		v, release, err := o.Guard(ctx, vf)
		if err != nil {
			return err
		}
		defer release()
		if u, used := v.ToAllocate(vf, resource); used {
			return fmt.Errorf("allocate %s: %s", vf, u.Reason())
		}
		defer o.AllocationsChanged(vf)
		return l.PutAllocations([]ledger.Allocation{{Resource: resource, Device: vf}})
	}
	_ = allocate
}
