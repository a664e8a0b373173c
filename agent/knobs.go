package agent

import (
	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// knobs reads the VFs as their PFs show them now, for a person who asks. A PF that
// tells nothing, or is just going, leaves its VFs out.
func (p *parts) knobs(pfs []device.PF) map[pci.Address]ledger.VFState {
	out := map[pci.Address]ledger.VFState{}
	for _, pf := range pfs {
		if pf.Netdev == "" || len(pf.VFs) == 0 {
			continue
		}
		infos, err := p.links.VFs(pf.Ifindex)
		if err != nil {
			p.log.Debug("the state of VFs cannot be read", "pf", pf.Netdev, "error", err)
			continue
		}
		for _, info := range infos {
			for _, vf := range pf.VFs {
				if vf.Index == info.Index {
					out[vf.Address] = attach.Knobs(info)
				}
			}
		}
	}
	return out
}
