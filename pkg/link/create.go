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
	Parent int    // ifindex of the link below, in the handle's namespace; 0: no such link
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
	return newLink{b.conn, "macvlan", s, data, target}.add()
}

// AddIPvlan makes an ipvlan inside target's namespace, as AddMacvlan does. Mode is
// l2, l3 or l3s. An ipvlan has its parent's MAC: Spec.MAC must be empty.
func (b creations) AddIPvlan(s Spec, mode string, target Target) (Link, error) {
	m, ok := ipvlanModes.number(mode)
	if !ok {
		return Link{}, wrap("create", "ipvlan "+s.Name, fmt.Errorf("unknown mode %q", mode))
	}
	return newLink{b.conn, "ipvlan", s, []*nl.RtAttr{nl.NewRtAttr(nl.IFLA_IPVLAN_MODE, nl.Uint16Attr(uint16(m)))}, target}.add()
}

// AddVLAN makes a VLAN link with 802.1q tags inside target's namespace, as
// AddMacvlan does.
func (b creations) AddVLAN(s Spec, id int, target Target) (Link, error) {
	return newLink{b.conn, "vlan", s, []*nl.RtAttr{nl.NewRtAttr(nl.IFLA_VLAN_ID, nl.Uint16Attr(uint16(id)))}, target}.add()
}

// newLink is a link that is being made.
type newLink struct {
	conn   *conn
	kind   string
	spec   Spec
	data   []*nl.RtAttr // IFLA_INFO_DATA
	target Target
}

// add makes the link and reads it back from n.target. The kernel does not echo a link
// (NLM_F_ECHO) that is made in another namespace than the request's.
func (n newLink) add() (Link, error) {
	err := n.create()
	if errors.Is(err, unix.EEXIST) {
		err = n.createAndRename()
	}
	if err != nil {
		return Link{}, wrap("create", n.kind+" "+n.spec.Name, err)
	}
	return n.target.ByName(n.spec.Name)
}

func (n newLink) create() error {
	attrs := []nl.NetlinkRequestData{
		text(unix.IFLA_IFNAME, n.spec.Name),
		u32(unix.IFLA_NET_NS_FD, uint32(n.target.FD())),
		nested(unix.IFLA_LINKINFO,
			nl.NewRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(n.kind)),
			nested(unix.IFLA_INFO_DATA, n.data...)),
	}
	if n.spec.Parent != 0 {
		attrs = append(attrs, u32(unix.IFLA_LINK, uint32(n.spec.Parent)))
	}
	if n.spec.MTU != 0 {
		attrs = append(attrs, u32(unix.IFLA_MTU, uint32(n.spec.MTU)))
	}
	if n.spec.Group != 0 {
		attrs = append(attrs, u32(unix.IFLA_GROUP, n.spec.Group))
	}
	if n.spec.MAC != "" {
		hw, err := net.ParseMAC(n.spec.MAC)
		if err != nil {
			return err
		}
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_ADDRESS, hw))
	}
	return n.conn.change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, attrs...)
}

// createAndRename is for kernels before 6.15. They look up the new link's name in the
// sender's namespace, so a host link called net1 prevents one in a pod.
func (n newLink) createAndRename() error {
	if _, err := n.target.ByName(n.spec.Name); err == nil {
		return unix.EEXIST // the name is taken in target
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	final := n.spec.Name
	n.spec.Name = temporaryName()
	if err := n.create(); err != nil {
		return err
	}
	made, err := n.target.ByName(n.spec.Name)
	if err != nil {
		return err
	}
	if err := n.target.Rename(made.Index, final); err != nil {
		return errors.Join(err, n.target.Delete(made.Index))
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
