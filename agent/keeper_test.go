package agent

import (
	"testing"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// S9: the policy of a VF is that of its group, whoever holds it.
func TestResetPolicyIsThatOfTheGroup(t *testing.T) {
	tree := sysfstest.New(t)
	vfs := []pci.Address{pci.MustParseAddress("0000:3b:10.0"), pci.MustParseAddress("0000:3b:10.2")}
	pf := device.PF{Address: pci.MustParseAddress("0000:3b:00.0"), Driver: "igb", Netdev: "ens1f0", NUMANode: -1, IOMMUGroup: -1, TotalVFs: 7, NumVFs: 2}
	for i, vf := range vfs {
		pf.VFs = append(pf.VFs, device.VF{Address: vf, PF: pf.Address, Index: i, Driver: "igbvf", NUMANode: -1, IOMMUGroup: -1})
	}
	tree.AddPF(pf)
	n := testNode(t, tree.Root)
	if _, err := n.inv.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.model.Profiles = []config.Profile{{Name: "lab", Groups: []config.VFGroup{
		{VFs: []device.IndexRange{{First: 0, Last: 0}}}, {VFs: []device.IndexRange{{First: 1, Last: 1}}, Rebind: true},
	}}}
	p := &parts{inv: n.inv, node: n}
	for vf, want := range map[pci.Address]attach.ResetPolicy{
		vfs[0]: attach.ResetRestore, vfs[1]: attach.ResetRebind, pci.MustParseAddress("0000:ff:00.0"): attach.ResetRestore,
	} {
		if got := p.resetPolicy(vf); got != want {
			t.Errorf("%s: %s, want %s", vf, got, want)
		}
	}
}
