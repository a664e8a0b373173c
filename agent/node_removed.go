package agent

import (
	"fmt"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

// reportRemoved reports the VFs that somebody else has removed. Old is the snapshot after the
// agent's own last change.
func reportRemoved(old, now *inventory.Snapshot, report func(text string)) {
	for _, pf := range old.PFs {
		var gone []pci.Address
		for i := range pf.VFs {
			if _, _, there := now.VF(pf.VFs[i].Address); !there {
				gone = append(gone, pf.VFs[i].Address)
			}
		}
		if len(gone) == 0 {
			continue
		}
		cause := "somebody wrote to its sriov_numvfs, or its driver was loaded again; a profile that asks for them makes them again"
		if _, there := now.PF(pf.Address); !there {
			cause = "the PF itself is gone from the PCI bus"
		}
		report(fmt.Sprintf("%d VFs of PF %s (%s) were removed, and not by Fairlead (%s is the first): %s", len(gone), pf.Netdev, pf.Address, gone[0], cause))
	}
}
