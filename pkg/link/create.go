package link

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Spec has the settings that all links of this package share.
type Spec struct {
	Name   string
	Parent int    // ifindex of the link below, in the handle's namespace
	MTU    int    // bytes; 0: the parent's
	MAC    string // empty: the kernel's choice
	Group  uint32 // for DeleteGroup; 0: none
}

// creations makes links inside other namespaces.
type creations struct{ conn *conn }

// AddMacvlan makes a macvlan inside target's namespace, under its final name. Its
// parent is in the handle's namespace. Mode is bridge, private, vepa or passthru.
// QueueLen is the length of the broadcast queue; 0 is the kernel's default.
func (b creations) AddMacvlan(s Spec, mode string, queueLen uint32, target Target) (Link, error) {
	m, ok := macvlanModes.number(mode)
	if !ok {
		return Link{}, wrap("create", "macvlan "+s.Name, fmt.Errorf("unknown mode %q", mode))
	}
	data := []*nl.RtAttr{nl.NewRtAttr(nl.IFLA_MACVLAN_MODE, nl.Uint32Attr(m))}
	if queueLen != 0 {
		data = append(data, nl.NewRtAttr(nl.IFLA_MACVLAN_BC_QUEUE_LEN, nl.Uint32Attr(queueLen)))
	}
	return b.add("macvlan", s, data, target)
}

// AddIPvlan makes an ipvlan inside target's namespace, as AddMacvlan does. Mode is
// l2, l3 or l3s. An ipvlan has its parent's MAC: Spec.MAC must be empty.
func (b creations) AddIPvlan(s Spec, mode string, target Target) (Link, error) {
	m, ok := ipvlanModes.number(mode)
	if !ok {
		return Link{}, wrap("create", "ipvlan "+s.Name, fmt.Errorf("unknown mode %q", mode))
	}
	return b.add("ipvlan", s, []*nl.RtAttr{nl.NewRtAttr(nl.IFLA_IPVLAN_MODE, nl.Uint16Attr(uint16(m)))}, target)
}

// AddVLAN makes a VLAN link with 802.1q tags inside target's namespace, as
// AddMacvlan does.
func (b creations) AddVLAN(s Spec, id int, target Target) (Link, error) {
	return b.add("vlan", s, []*nl.RtAttr{nl.NewRtAttr(nl.IFLA_VLAN_ID, nl.Uint16Attr(uint16(id)))}, target)
}

// add makes the link and reads it back from target. The kernel does not echo a link
// (NLM_F_ECHO) that is made in another namespace than the request's.
func (b creations) add(kind string, s Spec, data []*nl.RtAttr, target Target) (Link, error) {
	err := b.create(kind, s, data, target)
	if errors.Is(err, unix.EEXIST) {
		err = b.createAndRename(kind, s, data, target)
	}
	if err != nil {
		return Link{}, wrap("create", kind+" "+s.Name, err)
	}
	return target.ByName(s.Name)
}

func (b creations) create(kind string, s Spec, data []*nl.RtAttr, target Target) error {
	attrs := []nl.NetlinkRequestData{
		text(unix.IFLA_IFNAME, s.Name),
		u32(unix.IFLA_LINK, uint32(s.Parent)),
		u32(unix.IFLA_NET_NS_FD, uint32(target.FD())),
		nested(unix.IFLA_LINKINFO,
			nl.NewRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(kind)),
			nested(unix.IFLA_INFO_DATA, data...)),
	}
	if s.MTU != 0 {
		attrs = append(attrs, u32(unix.IFLA_MTU, uint32(s.MTU)))
	}
	if s.Group != 0 {
		attrs = append(attrs, u32(unix.IFLA_GROUP, s.Group))
	}
	if s.MAC != "" {
		hw, err := net.ParseMAC(s.MAC)
		if err != nil {
			return err
		}
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_ADDRESS, hw))
	}
	return b.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, attrs...)
}

// createAndRename is for kernels before 6.15. They look up the new link's name in the
// sender's namespace, so a host link called net1 prevents one in a pod.
func (b creations) createAndRename(kind string, s Spec, data []*nl.RtAttr, target Target) error {
	if _, err := target.ByName(s.Name); err == nil {
		return unix.EEXIST // the name is taken in target
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	final := s.Name
	s.Name = temporaryName()
	if err := b.create(kind, s, data, target); err != nil {
		return err
	}
	made, err := target.ByName(s.Name)
	if err != nil {
		return err
	}
	if err := target.Rename(made.Index, final); err != nil {
		return errors.Join(err, target.Delete(made.Index))
	}
	return nil
}

func temporaryName() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return "fl" + hex.EncodeToString(b[:])
}

var macvlanModes = names{
	nl.MACVLAN_MODE_PRIVATE:  "private",
	nl.MACVLAN_MODE_VEPA:     "vepa",
	nl.MACVLAN_MODE_BRIDGE:   "bridge",
	nl.MACVLAN_MODE_PASSTHRU: "passthru",
}

var ipvlanModes = names{0: "l2", 1: "l3", 2: "l3s"} // IPVLAN_MODE_* of if_link.h
