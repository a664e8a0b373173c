package link

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// SetUp brings a link up administratively.
func (h *Handle) SetUp(index int) error {
	return h.setFlags(index, "bringing up", unix.IFF_UP, unix.IFF_UP)
}

// SetDown brings a link down administratively.
func (h *Handle) SetDown(index int) error {
	return h.setFlags(index, "taking down", 0, unix.IFF_UP)
}

// SetListening has a link take all packets, all multicast ones, or its own alone.
func (h *Handle) SetListening(index int, promisc, allMulti bool) error {
	var flags uint32
	if promisc {
		flags |= unix.IFF_PROMISC
	}
	if allMulti {
		flags |= unix.IFF_ALLMULTI
	}
	return h.setFlags(index, "setting promiscuous mode", flags, unix.IFF_PROMISC|unix.IFF_ALLMULTI)
}

func (h *Handle) setFlags(index int, op string, flags, mask uint32) error {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index, ifi.Flags, ifi.Change = int32(index), flags, mask
	return wrap(op, indexed(index), h.acknowledged(request(unix.RTM_SETLINK, unix.NLM_F_ACK, ifi)))
}

// SetMTU sets the MTU in bytes.
func (h *Handle) SetMTU(index, mtu int) error {
	return wrap(fmt.Sprintf("setting MTU %d", mtu), indexed(index),
		h.change(unix.RTM_SETLINK, 0, index, u32(unix.IFLA_MTU, uint32(mtu))))
}

// SetMAC sets the link's own address.
func (h *Handle) SetMAC(index int, mac string) error {
	op := "setting MAC " + mac
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return wrap(op, indexed(index), err)
	}
	return wrap(op, indexed(index), h.change(unix.RTM_SETLINK, 0, index, nl.NewRtAttr(unix.IFLA_ADDRESS, hw)))
}

// Rename gives a link another name. Kernels before 6.2 want the link down. An
// altname, the link's own too, is a name that is taken: DeleteAltName comes first.
func (h *Handle) Rename(index int, name string) error {
	return wrap(fmt.Sprintf("renaming to %q", name), indexed(index),
		h.change(unix.RTM_SETLINK, 0, index, text(unix.IFLA_IFNAME, name)))
}

// AddAltName gives a link one more name, by which ByName finds it too.
func (h *Handle) AddAltName(index int, name string) error {
	return wrap(fmt.Sprintf("adding altname %q", name), indexed(index), h.changeAltName(unix.RTM_NEWLINKPROP, index, name))
}

// DeleteAltName takes such a name from a link.
func (h *Handle) DeleteAltName(index int, name string) error {
	return wrap(fmt.Sprintf("deleting altname %q", name), indexed(index), h.changeAltName(unix.RTM_DELLINKPROP, index, name))
}

func (h *Handle) changeAltName(message, index int, name string) error {
	return h.change(message, 0, index, nested(unix.IFLA_PROP_LIST, nl.NewRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))))
}

// MoveTo puts a link into target's namespace under newName and newIndex, in one
// message. The link arrives there down and without addresses. The index is a wish:
// where it is 0 or taken, and before kernel 5.14, the link keeps its old one or gets
// the kernel's choice.
//
// The kernel moves first and renames then: after an error the link may be in
// either namespace. A name that is taken in target is refused beforehand, by the
// kernel since 6.6 also an altname of the link that is taken there.
func (h *Handle) MoveTo(index int, target Target, newName string, newIndex int) error {
	op := fmt.Sprintf("moving as %q", newName)
	if _, err := target.ByName(newName); err == nil {
		return wrap(op, indexed(index), fmt.Errorf("the name is taken there: %w", unix.EEXIST))
	} else if !errors.Is(err, ErrNotFound) {
		return wrap(op, indexed(index), err)
	}
	err := h.move(index, target, newName, newIndex)
	if newIndex > 0 && errors.Is(err, unix.EBUSY) { // said before anything is changed
		err = h.move(index, target, newName, 0)
	}
	return wrap(op, indexed(index), err)
}

func (h *Handle) move(index int, target Target, newName string, newIndex int) error {
	attrs := []nl.NetlinkRequestData{u32(unix.IFLA_NET_NS_FD, uint32(target.FD())), text(unix.IFLA_IFNAME, newName)}
	if newIndex > 0 {
		attrs = append(attrs, u32(unix.IFLA_NEW_IFINDEX, uint32(newIndex)))
	}
	return h.change(unix.RTM_SETLINK, 0, index, attrs...)
}

// Delete removes a link. It returns after an RCU grace period (some 20 ms).
func (h *Handle) Delete(index int) error {
	return wrap("deleting", indexed(index), h.change(unix.RTM_DELLINK, 0, index))
}

// DeleteGroup removes all links of a group (not 0) in the time of one; a group
// without links is no error. One that cannot be deleted, a NIC, spares them all.
func (h *Handle) DeleteGroup(group uint32) error {
	err := h.change(unix.RTM_DELLINK, 0, 0, u32(unix.IFLA_GROUP, group))
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return wrap("deleting", fmt.Sprintf("link group %d", group), err)
}
