package ledger

import "fairlead.dev/fairlead/pkg/pci"

// Holding is what one member of an attachment has of the host: a PCI function, a
// place on a host netdev, or both.
type Holding struct {
	Network, IfName string
	Resource        string      // extended resource that backs it; empty: none
	Device          pci.Address // the function that it holds; zero: none
	Named           bool        // Device was named by the pod or the network, not given by the kubelet
	Original        *VFState    // how Device will be when it is released; nil: as it is now
	Uplink          string      // the host netdev below its link; empty: none
	VLANLink        string      // the shared VLAN netdev between Uplink and its link; empty: none
}

// Holdings lists what the sandbox has of the host and has not given back. Links do
// not survive a reboot of the node.
func (s Sandbox) Holdings() []Holding {
	var out []Holding
	for _, a := range s.Attachments {
		if a.Phase == Released {
			continue
		}
		for _, m := range a.Members {
			h := m.holding(a)
			if s.EarlierBoot {
				h.Uplink, h.VLANLink = "", ""
			}
			if !h.Device.IsZero() || h.Uplink != "" {
				out = append(out, h)
			}
		}
	}
	return out
}

func (m Member) holding(a Attachment) Holding {
	h := Holding{Network: a.Network, IfName: a.IfName, Resource: a.Resource}
	if m.Released {
		return h
	}
	if !m.DeviceReturned {
		h.Device, h.Named = m.Device, m.Named
	}
	if m.VF != nil && !h.Device.IsZero() {
		h.Original = &m.VF.Original
	}
	if m.Child != nil {
		h.Uplink, h.VLANLink = m.Child.Uplink, m.Child.VLANLink
	}
	return h
}

// netdev is the name that Device's netdev had on the host; empty if there was none.
func (h Holding) netdev() string {
	if h.Original == nil || h.Original.Netdev == nil {
		return ""
	}
	return h.Original.Netdev.Name
}
