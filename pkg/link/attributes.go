package link

import (
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes are settings of a link that survive a move to another namespace. So one user
// of a NIC would leave them to the next. Nil fields are not changed.
type Attributes struct {
	Alias                                 *string // empty removes it
	TxQLen                                *int    // packets
	Group                                 *uint32
	GSOMaxSize, GSOMaxSegs, GROMaxSize    *int // bytes, segments, bytes
	GSOIPv4MaxSize, GROIPv4MaxSize        *int // bytes
	Promisc, AllMulti, ARP, Multicast, Up *bool
}

// SetAttributes sets all attributes that are not nil, in one message. If all are nil, it
// sends nothing. After an error some attributes may be set: the kernel (do_setlink) has its
// own order, and stops at the first failure.
func (c changes) SetAttributes(index int, a Attributes) error {
	flags, mask := a.flags()
	attrs := a.encode()
	if mask == 0 && len(attrs) == 0 {
		return nil
	}
	return wrap("set attributes of", linkNumber(index), c.setFlags(index, flags, mask, attrs...))
}

func (a Attributes) flags() (flags, mask uint32) {
	noARP := a.ARP
	if noARP != nil {
		inverse := !*noARP
		noARP = &inverse
	}
	for _, f := range []struct {
		on   *bool
		flag uint32
	}{
		{a.Up, unix.IFF_UP}, {a.Promisc, unix.IFF_PROMISC}, {a.AllMulti, unix.IFF_ALLMULTI},
		{noARP, unix.IFF_NOARP}, {a.Multicast, unix.IFF_MULTICAST},
	} {
		if f.on != nil {
			mask |= f.flag
			flags |= f.flag * bit(*f.on)
		}
	}
	return flags, mask
}

// encode puts the IPv4 limits last, because the kernel copies the general limits to them,
// up to 64 KiB (netif_set_gso_max_size).
func (a Attributes) encode() []nl.NetlinkRequestData {
	var attrs []nl.NetlinkRequestData
	if a.Alias != nil { // without a final zero byte, which the kernel would count
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(*a.Alias)))
	}
	if a.Group != nil {
		attrs = append(attrs, u32(unix.IFLA_GROUP, *a.Group))
	}
	for _, n := range []struct {
		value *int
		attr  int
	}{
		{a.TxQLen, unix.IFLA_TXQLEN}, {a.GSOMaxSize, unix.IFLA_GSO_MAX_SIZE}, {a.GSOMaxSegs, unix.IFLA_GSO_MAX_SEGS},
		{a.GROMaxSize, unix.IFLA_GRO_MAX_SIZE}, {a.GSOIPv4MaxSize, unix.IFLA_GSO_IPV4_MAX_SIZE}, {a.GROIPv4MaxSize, unix.IFLA_GRO_IPV4_MAX_SIZE},
	} {
		if n.value != nil {
			attrs = append(attrs, u32(n.attr, uint32(*n.value)))
		}
	}
	return attrs
}

// DetachXDP detaches the XDP programs of a link, in all modes: generic, in the driver, in
// the NIC. It fails with EBUSY if a bpf_link (BPF_LINK_CREATE) holds a program. Such a
// program is detached when the process that made the bpf_link ends.
func (c changes) DetachXDP(index int) error {
	var modes []uint32
	err := queryLink(c.conn, index, 0, func(payload []byte) error {
		if _, err := ifinfo(payload); err != nil {
			return err
		}
		a := attributesOf(payload[unix.SizeofIfInfomsg:])
		for a.next() {
			if a.typ == unix.IFLA_XDP {
				modes = xdpModes(a.value)
			}
		}
		return a.err
	})
	for i := 0; err == nil && i < len(modes); i++ {
		err = c.conn.change(unix.RTM_SETLINK, 0, index, nested(unix.IFLA_XDP,
			nl.NewRtAttr(unix.IFLA_XDP_FD, nl.Uint32Attr(^uint32(0))), // -1
			nl.NewRtAttr(unix.IFLA_XDP_FLAGS, nl.Uint32Attr(modes[i]))))
	}
	return wrap("detach XDP programs of", linkNumber(index), err)
}

// xdpHardware is XDP_FLAGS_HW_MODE, which the library does not name.
const xdpHardware = 1 << 3

// xdpModes reads from an IFLA_XDP the modes in which programs are attached, as flags
// (XDP_FLAGS_…_MODE). There can be one program in each mode.
func xdpModes(value []byte) []uint32 {
	var modes []uint32
	add := func(mode uint32) {
		if !slices.Contains(modes, mode) {
			modes = append(modes, mode)
		}
	}
	for a := attributesOf(value); a.next(); {
		switch a.typ {
		case unix.IFLA_XDP_DRV_PROG_ID:
			add(nl.XDP_FLAGS_DRV_MODE)
		case unix.IFLA_XDP_SKB_PROG_ID:
			add(nl.XDP_FLAGS_SKB_MODE)
		case unix.IFLA_XDP_HW_PROG_ID:
			add(xdpHardware)
		case unix.IFLA_XDP_ATTACHED: // the only attribute of kernels before 4.20
			switch number(a.value) {
			case nl.XDP_ATTACHED_DRV:
				add(nl.XDP_FLAGS_DRV_MODE)
			case nl.XDP_ATTACHED_SKB:
				add(nl.XDP_FLAGS_SKB_MODE)
			case nl.XDP_ATTACHED_HW:
				add(xdpHardware)
			}
		}
	}
	return modes
}
