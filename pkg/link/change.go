package link

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// changes sets the properties of links: state, names, MAC, namespace.
type changes struct{ conn *conn }

// SetUp brings a link up administratively.
func (c changes) SetUp(index int) error {
	return wrap("bring up", linkNumber(index), c.setFlags(index, unix.IFF_UP, unix.IFF_UP))
}

// SetDown takes a link down administratively.
func (c changes) SetDown(index int) error {
	return wrap("take down", linkNumber(index), c.setFlags(index, 0, unix.IFF_UP))
}

// SetListening sets whether a link receives all packets, or all multicast packets.
func (c changes) SetListening(index int, promisc, allMulti bool) error {
	flags := unix.IFF_PROMISC*bit(promisc) | unix.IFF_ALLMULTI*bit(allMulti)
	return wrap("set promiscuous mode of", linkNumber(index), c.setFlags(index, flags, unix.IFF_PROMISC|unix.IFF_ALLMULTI))
}

func (c changes) setFlags(index int, flags, mask uint32, attrs ...nl.NetlinkRequestData) error {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index, ifi.Flags, ifi.Change = int32(index), flags, mask
	return c.conn.acknowledged(request(unix.RTM_SETLINK, unix.NLM_F_ACK, ifi, attrs...))
}

// SetMTU sets the MTU in bytes.
func (c changes) SetMTU(index, mtu int) error {
	return wrap(fmt.Sprintf("set MTU %d of", mtu), linkNumber(index),
		c.conn.change(unix.RTM_SETLINK, 0, index, u32(unix.IFLA_MTU, uint32(mtu))))
}

// SetMAC sets the link's own address.
func (c changes) SetMAC(index int, mac string) error {
	op := fmt.Sprintf("set MAC %s of", mac)
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return wrap(op, linkNumber(index), err)
	}
	return wrap(op, linkNumber(index), c.conn.change(unix.RTM_SETLINK, 0, index, nl.NewRtAttr(unix.IFLA_ADDRESS, hw)))
}

// Rename gives a link another name. Kernels before 6.2 refuse this if the link is up. The
// new name must not be an altname, not even the link's own: call DeleteAltName first.
func (c changes) Rename(index int, name string) error {
	return wrap(fmt.Sprintf("give name %q to", name), linkNumber(index),
		c.conn.change(unix.RTM_SETLINK, 0, index, text(unix.IFLA_IFNAME, name)))
}

// AddAltName adds an alternative name to a link. ByName finds the link by it too.
func (c changes) AddAltName(index int, name string) error {
	return wrap(fmt.Sprintf("add altname %q to", name), linkNumber(index), c.changeAltName(unix.RTM_NEWLINKPROP, index, name))
}

// DeleteAltName removes an alternative name from a link.
func (c changes) DeleteAltName(index int, name string) error {
	return wrap(fmt.Sprintf("delete altname %q of", name), linkNumber(index), c.changeAltName(unix.RTM_DELLINKPROP, index, name))
}

func (c changes) changeAltName(message, index int, name string) error {
	return c.conn.change(message, 0, index, nested(unix.IFLA_PROP_LIST, nl.NewRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))))
}

// MoveTo moves a link to target's namespace under newName and newIndex, in one message. The
// link arrives down and without addresses. If newIndex is 0 or taken, or the kernel is
// older than 5.14, the link keeps its index or the kernel chooses another one.
//
// MoveTo looks up newName in target before the move. The kernel (do_setlink) would check
// too late: it moves the link under its old name and then renames it. After EEXIST the
// link would be in target, down and without addresses. Since 6.6 the kernel refuses a move
// if an altname of the link is taken in target.
//
// After an error the link may be in either namespace.
func (c changes) MoveTo(index int, target Target, newName string, newIndex int) error {
	const op = "move"
	object := fmt.Sprintf("%s as %q", linkNumber(index), newName)
	if _, err := target.ByName(newName); err == nil {
		return wrap(op, object, fmt.Errorf("the name is taken in the other namespace: %w", unix.EEXIST))
	} else if !errors.Is(err, ErrNotFound) {
		return wrap(op, object, err)
	}
	err := c.move(index, target, newName, newIndex)
	if newIndex > 0 && errors.Is(err, unix.EBUSY) { // the index is taken; nothing has changed
		err = c.move(index, target, newName, 0)
	}
	return wrap(op, object, err)
}

func (c changes) move(index int, target Target, newName string, newIndex int) error {
	attrs := []nl.NetlinkRequestData{u32(unix.IFLA_NET_NS_FD, uint32(target.FD())), text(unix.IFLA_IFNAME, newName)}
	if newIndex > 0 {
		attrs = append(attrs, u32(unix.IFLA_NEW_IFINDEX, uint32(newIndex)))
	}
	return c.conn.change(unix.RTM_SETLINK, 0, index, attrs...)
}

// Delete removes a link. It returns after an RCU grace period (some 20 ms).
func (c changes) Delete(index int) error {
	return wrap("delete", linkNumber(index), c.conn.change(unix.RTM_DELLINK, 0, index))
}

// DeleteGroup removes all links of a group in the time that one takes. The group must not
// be 0. A group without links is not an error. If one link cannot be deleted, such as a
// NIC, all links stay.
func (c changes) DeleteGroup(group uint32) error {
	err := c.conn.change(unix.RTM_DELLINK, 0, 0, u32(unix.IFLA_GROUP, group))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return wrap("delete", fmt.Sprintf("link group %d", group), err)
}
