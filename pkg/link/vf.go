package link

import (
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
)

// VFInfo is what a PF's driver tells about one of its VFs. A driver may report a
// default for a knob that it does not have.
type VFInfo struct {
	Index         int
	MAC           string // 00:00:00:00:00:00 where none is set
	VLAN          int    // 0: none
	QoS           int
	VLANProto     string // "802.1q", "802.1ad"
	MinTxRateMbps int    // 0: none
	MaxTxRateMbps int    // 0: unlimited
	SpoofCheck    *bool  // nil: the driver has no such knob
	Trust         *bool  // likewise
	LinkState     string // "auto", "enable", "disable"
}

// VF asks PF pfIndex for VF number vf.
func (h *Handle) VF(pfIndex, vf int) (VFInfo, error) {
	op, object := fmt.Sprintf("read VF %d of", vf), indexed(pfIndex)
	infos, err := readVFs(h.conn, pfIndex)
	if err != nil {
		return VFInfo{}, wrap(op, object, err)
	}
	if infos == nil {
		return VFInfo{}, wrap(op, object, fmt.Errorf("the driver tells nothing about VFs: %w", unix.EOPNOTSUPP))
	}
	for _, attrs := range infos {
		if info := parseVF(attrs); info.Index == vf {
			return info, nil
		}
	}
	return VFInfo{}, wrap(op, object, fmt.Errorf("the PF has %d VFs: %w", len(infos), unix.ENOENT))
}

// VFs asks PF pfIndex for all its VFs, in one message.
func (h *Handle) VFs(pfIndex int) ([]VFInfo, error) {
	raw, err := readVFs(h.conn, pfIndex)
	if err != nil {
		return nil, wrap("read the VFs of", indexed(pfIndex), err)
	}
	var infos []VFInfo
	for _, attrs := range raw {
		infos = append(infos, parseVF(attrs))
	}
	return infos, nil
}

// parseVF reads the attributes of one VF: each a struct that opens with the VF's
// number (struct ifla_vf_* of if_link.h).
func parseVF(raw []byte) VFInfo {
	info := VFInfo{Index: -1, VLANProto: device.Proto8021Q, LinkState: "auto"}
	for a := attributesOf(raw); a.next(); {
		v := a.value
		switch typ := a.typ; {
		case typ == nl.IFLA_VF_MAC && len(v) >= 10:
			info.Index, info.MAC = int(native.Uint32(v)), macText(v[4:10])
		case typ == nl.IFLA_VF_VLAN && len(v) >= 12:
			info.VLAN, info.QoS = int(native.Uint32(v[4:])), int(native.Uint32(v[8:]))
		case typ == nl.IFLA_VF_VLAN_LIST:
			info.VLANProto = vlanProto(v)
		case typ == nl.IFLA_VF_RATE && len(v) >= 12:
			info.MinTxRateMbps, info.MaxTxRateMbps = int(native.Uint32(v[4:])), int(native.Uint32(v[8:]))
		case typ == nl.IFLA_VF_SPOOFCHK && len(v) >= 8:
			info.SpoofCheck = onOff(native.Uint32(v[4:]))
		case typ == nl.IFLA_VF_TRUST && len(v) >= 8:
			info.Trust = onOff(native.Uint32(v[4:]))
		case typ == nl.IFLA_VF_LINK_STATE && len(v) >= 8:
			info.LinkState = vfLinkStates.name(native.Uint32(v[4:]))
		}
	}
	return info
}

// SetVFMAC sets the administrative MAC; zero gives it back to the VF.
func (h *Handle) SetVFMAC(pfIndex, vf int, mac string) error {
	op := fmt.Sprintf("set VF %d MAC %s of", vf, mac)
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return wrap(op, indexed(pfIndex), err)
	}
	msg := nl.VfMac{Vf: uint32(vf)}
	copy(msg.Mac[:], hw)
	return h.setVF(op, pfIndex, nl.NewRtAttr(nl.IFLA_VF_MAC, msg.Serialize()))
}

// SetVFVLAN sets VLAN, priority and tag protocol ("802.1q", "802.1ad") as one;
// VLAN 0 with QoS 0 removes the tag.
func (h *Handle) SetVFVLAN(pfIndex, vf, vlan, qos int, proto string) error {
	op := fmt.Sprintf("set VF %d VLAN %d QoS %d %s of", vf, vlan, qos, proto)
	msg := nl.VfVlan{Vf: uint32(vf), Vlan: uint32(vlan), Qos: uint32(qos)}
	if !strings.EqualFold(proto, device.Proto8021AD) {
		// The old attribute, which every driver with VLANs has; it means 802.1q.
		return h.setVF(op, pfIndex, nl.NewRtAttr(nl.IFLA_VF_VLAN, msg.Serialize()))
	}
	// struct ifla_vf_vlan_info: the same three numbers, the protocol in network order, padding.
	info := append(append([]byte{}, msg.Serialize()...), 0x88, 0xa8, 0, 0)
	list := nested(nl.IFLA_VF_VLAN_LIST, nl.NewRtAttr(nl.IFLA_VF_VLAN_INFO, info))
	return h.setVF(op, pfIndex, list)
}

// SetVFRate sets both limits in Mbit/s; 0 is no limit.
func (h *Handle) SetVFRate(pfIndex, vf, minMbps, maxMbps int) error {
	msg := nl.VfRate{Vf: uint32(vf), MinTxRate: uint32(minMbps), MaxTxRate: uint32(maxMbps)}
	op := fmt.Sprintf("set VF %d rate %d..%d Mbit/s of", vf, minMbps, maxMbps)
	return h.setVF(op, pfIndex, nl.NewRtAttr(nl.IFLA_VF_RATE, msg.Serialize()))
}

// SetVFSpoofCheck has the NIC drop, or pass, frames with a source the VF does not own.
func (h *Handle) SetVFSpoofCheck(pfIndex, vf int, on bool) error {
	msg := nl.VfSpoofchk{Vf: uint32(vf), Setting: bit(on)}
	return h.setVF(fmt.Sprintf("set VF %d spoof check %t of", vf, on), pfIndex, nl.NewRtAttr(nl.IFLA_VF_SPOOFCHK, msg.Serialize()))
}

// SetVFTrust lets the VF, or not, change its MAC and enter promiscuous mode.
func (h *Handle) SetVFTrust(pfIndex, vf int, on bool) error {
	msg := nl.VfTrust{Vf: uint32(vf), Setting: bit(on)}
	return h.setVF(fmt.Sprintf("set VF %d trust %t of", vf, on), pfIndex, nl.NewRtAttr(nl.IFLA_VF_TRUST, msg.Serialize()))
}

// SetVFLinkState sets the link that the VF sees: "auto", "enable", "disable".
func (h *Handle) SetVFLinkState(pfIndex, vf int, state string) error {
	op := fmt.Sprintf("set VF %d link state %s of", vf, state)
	n, ok := vfLinkStates.number(state)
	if !ok {
		return wrap(op, indexed(pfIndex), unix.EINVAL)
	}
	msg := nl.VfLinkState{Vf: uint32(vf), LinkState: n}
	return h.setVF(op, pfIndex, nl.NewRtAttr(nl.IFLA_VF_LINK_STATE, msg.Serialize()))
}

func (h *Handle) setVF(op string, pfIndex int, knob *nl.RtAttr) error {
	list := nested(unix.IFLA_VFINFO_LIST, nested(nl.IFLA_VF_INFO, knob))
	return wrap(op, indexed(pfIndex), h.conn.change(unix.RTM_SETLINK, 0, pfIndex, list))
}
