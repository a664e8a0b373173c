package link

import (
	"bytes"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
)

// vfKnobs reads and sets the settings of VFs at their PF.
type vfKnobs struct{ conn *conn }

// VFs reads the settings of all VFs of a PF, by VF number, in one message. The kernel cannot
// be asked about a single VF, and asks the driver about every VF each time. So read once
// before a batch of changes and once after it.
//
// A field is nil if the driver does not report it. Some drivers report a default for a knob
// that they do not have, such as the link state "auto". If the driver reports no VFs at
// all, the error is ErrUnsupported.
func (v vfKnobs) VFs(pfIndex int) (map[int]device.Settings, error) {
	const op = "read the VFs of"
	raw, err := readVFs(v.conn, pfIndex)
	if err != nil {
		return nil, wrap(op, linkNumber(pfIndex), err)
	}
	if raw == nil {
		return nil, wrap(op, linkNumber(pfIndex), fmt.Errorf("the driver reports no VFs: %w", unix.EOPNOTSUPP))
	}
	settings := make(map[int]device.Settings, len(raw))
	for _, attrs := range raw {
		vf, s, err := parseSettings(attrs)
		if err != nil {
			return nil, wrap(op, linkNumber(pfIndex), err)
		}
		settings[vf] = s
	}
	return settings, nil
}

// readVFs returns the raw attributes of each VF. It returns nil if the driver reports no
// list.
func readVFs(c *conn, pfIndex int) (list [][]byte, err error) {
	err = queryLink(c, pfIndex, nl.RTEXT_FILTER_VF, func(payload []byte) (err error) {
		if _, err := ifinfo(payload); err != nil {
			return err
		}
		list, err = vfList(bytes.Clone(payload[unix.SizeofIfInfomsg:]))
		return err
	})
	return list, err
}

// vfList finds the attributes of each VF among those of a PF. It returns nil if they have
// no list.
//
// The length of the list has 16 bits. With some 300 VFs it overflows, and the kernel writes
// only the low bits. So the list ends with its last entry: no attribute that can follow the
// list has the type of an entry. A VF that the driver could not report, such as one that is
// being reset, is not in the list.
func vfList(attrs []byte) ([][]byte, error) {
	a := attributesOf(attrs)
	for a.nextType() != unix.IFLA_VFINFO_LIST {
		if !a.next() {
			return nil, a.err
		}
	}
	vfs, size := [][]byte{}, attrHeader
	entries := attributesOf(a.rest[attrHeader:])
	for entries.nextType() == nl.IFLA_VF_INFO && entries.next() {
		vfs = append(vfs, entries.value)
		size += attrHeader + aligned(len(entries.value))
	}
	if entries.err != nil || uint16(size) != native.Uint16(a.rest) {
		return nil, fmt.Errorf("the list of VFs is malformed after %d of them: %w", len(vfs), unix.EBADMSG)
	}
	return vfs, nil
}

// parseSettings reads the attributes of one VF (IFLA_VF_INFO). Each is a structure
// that begins with the VF's number (struct ifla_vf_* of linux/if_link.h).
func parseSettings(raw []byte) (vf int, s device.Settings, err error) {
	vf = -1
	a := attributesOf(raw)
	for a.next() {
		if a.typ == nl.IFLA_VF_VLAN_LIST {
			proto := vlanProto(a.value)
			s.VLANProto = &proto
		} else if len(a.value) >= 8 {
			vf = int(native.Uint32(a.value))
			setSetting(&s, a.typ, a.value[4:])
		}
	}
	if a.err != nil {
		return 0, s, fmt.Errorf("attributes of a VF: %w", a.err)
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

// setSetting sets the fields of one attribute. V is the value after the VF's number.
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
		s.SpoofCheck = switchAt(native.Uint32(v))
	case typ == nl.IFLA_VF_TRUST:
		s.Trust = switchAt(native.Uint32(v))
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

// vlanProto reads the first entry of the list. The kernel never has a second.
func vlanProto(list []byte) string {
	first := attributesOf(list)
	if !first.next() || len(first.value) < 14 {
		return device.Proto8021Q
	}
	if p := first.value[12:14]; p[0] == 0x88 && p[1] == 0xa8 { // network order
		return device.Proto8021AD
	}
	return device.Proto8021Q
}

// switchAt reads a switch. The kernel reports all ones if the driver does not report it.
func switchAt(v uint32) *bool {
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
