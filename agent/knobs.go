package agent

import (
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// knobs reads the VFs' current settings from their PFs, for fairleadctl. If a PF's driver
// reports nothing, or the PF is being removed, its VFs are left out.
func (p *parts) knobs(pfs []device.PF) map[pci.Address]device.Settings {
	out := map[pci.Address]device.Settings{}
	for _, pf := range pfs {
		if pf.Netdev == "" || len(pf.VFs) == 0 {
			continue
		}
		settings, err := p.links.VFs(pf.Ifindex)
		if err != nil {
			p.log.Debug("reading VF settings failed", "pf", pf.Netdev, "error", err)
			continue
		}
		for _, vf := range pf.VFs {
			if s, ok := settings[vf.Index]; ok {
				out[vf.Address] = s
			}
		}
	}
	return out
}
