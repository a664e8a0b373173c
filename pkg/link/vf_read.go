package link

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
)

// VFSettings reads the settings of all VFs of a PF, by VF number, in one message.
// The kernel has no smaller question: it asks the driver about every VF each time,
// so read once before a batch of changes and once after it.
//
// A field is nil if the driver does not report it. Some drivers report a default
// for a knob that they do not have: the link state is "auto" for all of those.
// If the driver reports no VFs at all, the error is ErrUnsupported.
func (h *Handle) VFSettings(pfIndex int) (map[int]device.Settings, error) {
	const op = "reading the VFs"
	raw, err := h.vfs(pfIndex)
	if err != nil {
		return nil, wrap(op, indexed(pfIndex), err)
	}
	if raw == nil {
		return nil, wrap(op, indexed(pfIndex), fmt.Errorf("the driver reports no VFs: %w", unix.EOPNOTSUPP))
	}
	settings := make(map[int]device.Settings, len(raw))
	for _, attrs := range raw {
		vf, s, err := parseSettings(attrs)
		if err != nil {
			return nil, wrap(op, indexed(pfIndex), err)
		}
		settings[vf] = s
	}
	return settings, nil
}

// skipStats is RTEXT_FILTER_SKIP_STATS, which the library does not name. The
// statistics make up most of a PF's VF data, which has to fit into the 64 KiB of
// one attribute.
const skipStats = 1 << 3

// vfs returns the raw attributes of each VF; nil if the driver reports no list.
func (h *Handle) vfs(pfIndex int) ([][]byte, error) {
	req := h.request(unix.RTM_GETLINK, 0, pfIndex, u32(unix.IFLA_EXT_MASK, nl.RTEXT_FILTER_VF|skipStats))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 || len(msgs[0]) < unix.SizeofIfInfomsg {
		return nil, unix.ENODEV
	}
	attrs, err := nl.ParseRouteAttr(msgs[0][unix.SizeofIfInfomsg:])
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		if a.Attr.Type&nl.NLA_TYPE_MASK != unix.IFLA_VFINFO_LIST {
			continue
		}
		list, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return nil, err
		}
		vfs := make([][]byte, 0, len(list))
		for _, v := range list {
			vfs = append(vfs, v.Value)
		}
		return vfs, nil
	}
	return nil, nil
}

// parseSettings reads the attributes of one VF (IFLA_VF_INFO). Each is a structure
// that begins with the VF's number (struct ifla_vf_* of linux/if_link.h).
func parseSettings(raw []byte) (vf int, s device.Settings, err error) {
	attrs, err := nl.ParseRouteAttr(raw)
	if err != nil {
		return 0, s, fmt.Errorf("attributes of a VF: %w", err)
	}
	vf = -1
	for _, a := range attrs {
		if typ := int(a.Attr.Type & nl.NLA_TYPE_MASK); typ == nl.IFLA_VF_VLAN_LIST {
			proto := vlanProto(a.Value)
			s.VLANProto = &proto
		} else if len(a.Value) >= 8 {
			vf = int(native.Uint32(a.Value))
			setSetting(&s, typ, a.Value[4:])
		}
	}
	if vf < 0 {
		return 0, s, fmt.Errorf("attributes of a VF have no VF number")
	}
	if s.VLAN != nil && s.VLANProto == nil { // before kernel 4.9 there is only one protocol
		proto := device.Proto8021Q
		s.VLANProto = &proto
	}
	return vf, s, nil
}

// setSetting sets the fields that one attribute holds; v is what follows the VF's number.
func setSetting(s *device.Settings, typ int, v []byte) {
	switch {
	case typ == nl.IFLA_VF_MAC && len(v) >= 6:
		mac := macText(v[:6])
		s.AdminMAC = &mac
	case typ == nl.IFLA_VF_VLAN && len(v) >= 8:
		s.VLAN, s.QoS = intAt(v), intAt(v[4:])
	case typ == nl.IFLA_VF_RATE && len(v) >= 8:
		s.MinTxRate, s.MaxTxRate = intAt(v), intAt(v[4:])
	case typ == nl.IFLA_VF_SPOOFCHK:
		s.SpoofCheck = onOff(native.Uint32(v))
	case typ == nl.IFLA_VF_TRUST:
		s.Trust = onOff(native.Uint32(v))
	case typ == nl.IFLA_VF_LINK_STATE:
		if state := vfLinkStates.name(native.Uint32(v)); state != "" {
			s.LinkState = &state
		}
	}
}

func intAt(b []byte) *int {
	n := int(native.Uint32(b))
	return &n
}

// vlanProto reads the first entry of the list; the kernel never has a second.
func vlanProto(list []byte) string {
	entries, err := nl.ParseRouteAttr(list)
	if err != nil || len(entries) == 0 || len(entries[0].Value) < 14 {
		return device.Proto8021Q
	}
	if p := entries[0].Value[12:14]; p[0] == 0x88 && p[1] == 0xa8 { // network order
		return device.Proto8021AD
	}
	return device.Proto8021Q
}

// onOff reads a switch. The kernel reports all ones if the driver has left it out.
func onOff(v uint32) *bool {
	if v == ^uint32(0) {
		return nil
	}
	on := v != 0
	return &on
}

var vfLinkStates = names{
	nl.IFLA_VF_LINK_STATE_AUTO:    "auto",
	nl.IFLA_VF_LINK_STATE_ENABLE:  "enable",
	nl.IFLA_VF_LINK_STATE_DISABLE: "disable",
}

// names gives the kernel's numbers the words that users write.
type names map[uint32]string

func (n names) name(v uint32) string { return n[v] }

func (n names) number(word string) (uint32, bool) {
	for v, w := range n {
		if w == word {
			return v, true
		}
	}
	return 0, false
}
