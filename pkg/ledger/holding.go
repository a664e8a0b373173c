package ledger

import "fairlead.dev/fairlead/pkg/pci"

// Holding lists the parts of the host that a member of an attachment holds: a PCI
// function, a place on a host netdev, or both.
type Holding struct {
	Network, IfName string
	Resource        string      // extended resource that backs it; may be empty
	Device          pci.Address // the function that it holds; may be zero
	Named           bool        // Device was named by the pod or the network, not given by the kubelet
	Original        *VFState    // the state of Device when it has been released; nil: as it is now
	Uplink          string      // the host netdev below its link; may be empty
	VLANLink        string      // the shared VLAN netdev between Uplink and its link; may be empty
}

// Holdings lists the parts of the host that the sandbox has not returned. Links are left
// out after a reboot, which they do not survive.
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
	if m.Child != nil && !m.Child.InPod {
		h.Uplink, h.VLANLink = m.Child.Uplink, m.Child.VLANLink
	}
	return h
}

// netdev returns the name of Device's netdev on the host. It is empty if there was no
// netdev.
func (h Holding) netdev() string {
	if h.Original == nil || h.Original.Netdev == nil {
		return ""
	}
	return h.Original.Netdev.Name
}
