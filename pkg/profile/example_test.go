package profile_test

import (
	"fmt"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
)

func ExamplePlan() {
	vlan, trust, standard := 100, true, 0
	fast := config.Profile{
		Name: "fast",
		NICs: device.NICSelector{PFNames: []string{"ens1f*"}},
		Groups: []config.VFGroup{{
			Settings: device.Settings{Driver: device.KernelDriver, VLAN: &vlan, Trust: &trust},
		}},
	}
	pf := device.PF{
		Address: pci.MustParseAddress("0000:3b:00.0"), Netdev: "ens1f0", NumVFs: 2, TotalVFs: 7,
		VFs: []device.VF{
			{Address: pci.MustParseAddress("0000:3b:10.0"), Index: 0, Driver: "igbvf", Netdev: "ens1f0v0"},
			{Address: pci.MustParseAddress("0000:3b:10.2"), Index: 1, Driver: "vfio-pci"},
		},
	}
	nic := profile.NIC{
		PF: pf, Up: true,
		Settings: map[int]device.Settings{0: {VLAN: &standard}, 1: {VLAN: &vlan, Trust: &trust}},
		Uses:     map[pci.Address][]custody.Use{pf.VFs[1].Address: {{Kind: custody.Sandbox, Who: "pod default/db (net1)"}}},
	}
	for _, step := range profile.Plan([]config.Profile{fast}, []profile.NIC{nic}) {
		fmt.Println(step)
	}
	// Output:
	// ens1f0: VF 0: VLAN 0 -> 100
	// ens1f0: VF 0: trust on
	// ens1f0: blocked: VF 1: driver vfio-pci -> the kernel's own: it is held by pod default/db (net1): the change is made when it is free
}
