package ledger

import "fairlead.dev/fairlead/pkg/pci"

// Holding is what one attachment has of the host: a PCI function, a place on a host
// netdev, or both.
type Holding struct {
	Network, IfName string
	Resource        string      // extended resource that backs it; empty: none
	Device          pci.Address // the function that it holds; zero: none
	Original        *VFState    // how Device will be when it is released; nil: as it is now
	Uplink          string      // the host netdev below its link; empty: none
	VLANLink        string      // the shared VLAN netdev between Uplink and its link; empty: none
}

// Holdings lists what the sandbox has of the host and has not given back.
func (s Sandbox) Holdings() []Holding {
	var out []Holding
	for _, a := range s.Attachments {
		if a.Phase == Released {
			continue
		}
		h := Holding{Network: a.Network, IfName: a.IfName, Resource: a.Resource}
		if !a.Device.IsZero() && !a.DeviceBack {
			h.Device, h.Original = a.Device, a.VF
		}
		if a.Link != nil {
			h.Uplink, h.VLANLink = a.Link.Uplink, a.Link.VLANLink
		}
		if !h.Device.IsZero() || h.Uplink != "" {
			out = append(out, h)
		}
	}
	return out
}
