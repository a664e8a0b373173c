package link

import (
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
)

// SetVF sets all knobs at the PF for which s has a value, in one message. It ignores the
// other values of s: the driver, the MTU, the netdev's own MAC. If s has no value for the
// PF, it sends nothing. The kernel sets both rates together, so a rate that is nil is set
// to 0, which means no limit.
//
// The kernel (do_setvfinfo) applies the values in its own order: MAC, VLAN, rate, spoof
// check, link state, trust. It stops at the first value that the driver refuses, and does
// not report which. The values before it stay set. After an error, read the settings back,
// or set one value at a time:
//
//	for _, k := range device.KnobsAt(device.AtPF) {
//		err := h.SetVF(pf, vf, s.Only(k))
//	}
func (v vfKnobs) SetVF(pfIndex, vf int, s device.Settings) error {
	var asked []string
	for _, k := range device.KnobsAt(device.AtPF) {
		if k.Has(s) {
			asked = append(asked, k.Name+" "+k.Text(s))
		}
	}
	if len(asked) == 0 {
		return nil
	}
	op := fmt.Sprintf("set %s of VF %d of", strings.Join(asked, ", "), vf)
	info, err := vfInfo(uint32(vf), s)
	if err != nil {
		return wrap(op, linkNumber(pfIndex), err)
	}
	return wrap(op, linkNumber(pfIndex), v.conn.change(unix.RTM_SETLINK, 0, pfIndex, nested(unix.IFLA_VFINFO_LIST, info)))
}

// vfInfo encodes the values as one IFLA_VF_INFO, in the order of device.Knobs.
func vfInfo(vf uint32, s device.Settings) (*nl.RtAttr, error) {
	info := nested(nl.IFLA_VF_INFO)
	if s.VLAN != nil {
		info.AddChild(vlanAttr(vf, s))
	}
	if s.AdminMAC != nil {
		hw, err := net.ParseMAC(*s.AdminMAC)
		if err != nil {
			return nil, err
		}
		mac := nl.VfMac{Vf: vf}
		copy(mac.Mac[:], hw)
		info.AddChild(nl.NewRtAttr(nl.IFLA_VF_MAC, mac.Serialize()))
	}
	if s.MinTxRate != nil || s.MaxTxRate != nil {
		rate := nl.VfRate{Vf: vf, MinTxRate: orZero(s.MinTxRate), MaxTxRate: orZero(s.MaxTxRate)}
		info.AddChild(nl.NewRtAttr(nl.IFLA_VF_RATE, rate.Serialize()))
	}
	if s.SpoofCheck != nil {
		check := nl.VfSpoofchk{Vf: vf, Setting: bit(*s.SpoofCheck)}
		info.AddChild(nl.NewRtAttr(nl.IFLA_VF_SPOOFCHK, check.Serialize()))
	}
	if s.Trust != nil {
		trust := nl.VfTrust{Vf: vf, Setting: bit(*s.Trust)}
		info.AddChild(nl.NewRtAttr(nl.IFLA_VF_TRUST, trust.Serialize()))
	}
	if s.LinkState != nil {
		n, ok := vfLinkStates.number(*s.LinkState)
		if !ok {
			return nil, fmt.Errorf("unknown link state %q: %w", *s.LinkState, unix.EINVAL)
		}
		state := nl.VfLinkState{Vf: vf, LinkState: n}
		info.AddChild(nl.NewRtAttr(nl.IFLA_VF_LINK_STATE, state.Serialize()))
	}
	return info, nil
}

// vlanAttr encodes VLAN, priority and protocol. VLAN 0 with priority 0 removes the tag.
func vlanAttr(vf uint32, s device.Settings) *nl.RtAttr {
	vlan := nl.VfVlan{Vf: vf, Vlan: orZero(s.VLAN), Qos: orZero(s.QoS)}
	if s.VLANProto == nil || !strings.EqualFold(*s.VLANProto, device.Proto8021AD) {
		// The old attribute means 802.1q. Every driver with VLANs supports it.
		return nl.NewRtAttr(nl.IFLA_VF_VLAN, vlan.Serialize())
	}
	// struct ifla_vf_vlan_info: the same three numbers, the protocol in network order, padding.
	tag := append(append([]byte{}, vlan.Serialize()...), 0x88, 0xa8, 0, 0)
	return nested(nl.IFLA_VF_VLAN_LIST, nl.NewRtAttr(nl.IFLA_VF_VLAN_INFO, tag))
}

func orZero(n *int) uint32 {
	if n == nil {
		return 0
	}
	return uint32(*n)
}

func bit(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}
