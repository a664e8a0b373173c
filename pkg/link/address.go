package link

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Address is an IP address of a link.
type Address struct {
	IPNet net.IPNet
	// Tentative means that duplicate address detection is running. The address cannot be
	// used yet, unless it is Optimistic. Duplicate means that another host on the link has
	// the address.
	Tentative, Optimistic, Duplicate bool
	// Expires means a limited lifetime, as with DHCP or router advertisements.
	Expires bool
}

// InUse reports whether somebody configured this address. Link-local addresses do not
// count: any link gets one when it is up. IPv6 addresses with a limited lifetime do not
// count either: the kernel makes them from router advertisements, which any link that is
// up can receive. An IPv4 address with a limited lifetime counts: somebody runs DHCP.
func (a Address) InUse() bool {
	ip, _ := netip.AddrFromSlice(a.IPNet.IP)
	return countsAsUse(ip, a.Expires)
}

func countsAsUse(ip netip.Addr, expires bool) bool {
	ip = ip.Unmap()
	advertised := ip.Is6() && expires
	return !ip.IsLinkLocalUnicast() && !advertised
}

// addresses sets and lists IP addresses.
type addresses struct{ conn *conn }

// AddAddress adds an address with its prefix length to a link. An Optimistic IPv6 address
// is usable at once, if the link's sysctl optimistic_dad is on. The sysctl has no effect on
// other addresses.
func (a addresses) AddAddress(index int, addr Address) error {
	req := addressRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, addr)
	return wrap(fmt.Sprintf("add address %s to", &addr.IPNet), linkNumber(index), a.conn.acknowledged(req))
}

// DeleteAddress removes an address from a link.
func (a addresses) DeleteAddress(index int, addr net.IPNet) error {
	req := addressRequest(unix.RTM_DELADDR, 0, index, Address{IPNet: addr})
	return wrap(fmt.Sprintf("delete address %s of", &addr), linkNumber(index), a.conn.acknowledged(req))
}

func addressRequest(message, flags, index int, addr Address) *nl.NetlinkRequest {
	family, ip := familyOf(addr.IPNet.IP)
	msg := nl.NewIfAddrmsg(family)
	ones, _ := addr.IPNet.Mask.Size()
	msg.Index, msg.Prefixlen = uint32(index), uint8(ones)
	if addr.Optimistic {
		msg.Flags = unix.IFA_F_OPTIMISTIC
	}
	req := request(message, flags|unix.NLM_F_ACK, msg, nl.NewRtAttr(unix.IFA_LOCAL, ip), nl.NewRtAttr(unix.IFA_ADDRESS, ip))
	if family == unix.AF_INET && ones < 31 { // a /31 has no broadcast address (RFC 3021)
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(ip, addr.IPNet.Mask)))
	}
	return req
}

// familyOf returns the family and the bytes of an address: 4 or 16.
func familyOf(ip net.IP) (int, []byte) {
	if v4 := ip.To4(); v4 != nil {
		return unix.AF_INET, v4
	}
	return unix.AF_INET6, ip.To16()
}

func broadcast(ip []byte, mask net.IPMask) []byte {
	last := make([]byte, len(ip))
	for i := range ip {
		last[i] = ip[i] | ^mask[len(mask)-len(ip)+i]
	}
	return last
}

// Addresses lists a link's addresses of both families.
func (a addresses) Addresses(index int) ([]Address, error) {
	addrs := []Address{}
	err := dumpAddresses(a.conn, func() { addrs = addrs[:0] }, func(payload []byte) error {
		on, a, err := parseAddress(payload)
		if on == index && a.IPNet.IP != nil {
			addrs = append(addrs, a)
		}
		return err
	})
	if err != nil {
		return nil, wrap("list addresses of", linkNumber(index), err)
	}
	return addrs, nil
}

func dumpAddresses(c *conn, begin func(), each func(payload []byte) error) error {
	req := request(unix.RTM_GETADDR, unix.NLM_F_DUMP, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	return c.dump(req, unix.RTM_NEWADDR, begin, each)
}

// parseAddress reads an RTM_NEWADDR or RTM_DELADDR message. If the family is not IPv4 or
// IPv6, the address has no IP.
func parseAddress(msg []byte) (index int, addr Address, err error) {
	m, err := ifaddr(msg)
	if err != nil {
		return m.index, addr, err
	}
	addr = Address{
		Tentative:  m.flags&unix.IFA_F_TENTATIVE != 0,
		Optimistic: m.flags&unix.IFA_F_OPTIMISTIC != 0,
		Duplicate:  m.flags&unix.IFA_F_DADFAILED != 0,
		Expires:    m.flags&unix.IFA_F_PERMANENT == 0,
	}
	if p := m.prefix; p.IsValid() {
		addr.IPNet = net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
	}
	return m.index, addr, nil
}

// addressMessage is the content of a message about an address.
type addressMessage struct {
	index  int
	prefix netip.Prefix // not valid if the family is not IPv4 or IPv6
	peer   netip.Addr   // the other end of a point-to-point address; else not valid
	flags  uint32       // IFA_F_…
}

// inUse is Address.InUse for a message.
func (m addressMessage) inUse() bool {
	return countsAsUse(m.prefix.Addr(), m.flags&unix.IFA_F_PERMANENT == 0)
}

// ifaddr reads a message about an address. IPv4 has IFA_LOCAL, and IFA_ADDRESS for
// the peer, which is the same address if there is no peer. IPv6 has IFA_ADDRESS,
// and IFA_LOCAL only if there is a peer.
func ifaddr(msg []byte) (addressMessage, error) {
	if len(msg) < unix.SizeofIfAddrmsg {
		return addressMessage{}, fmt.Errorf("message of %d bytes is too short for an address", len(msg))
	}
	family, bits := msg[0], int(msg[1])
	m := addressMessage{flags: uint32(msg[2]), index: int(native.Uint32(msg[4:]))}
	var local, address netip.Addr
	a := attributesOf(msg[unix.SizeofIfAddrmsg:])
	for a.next() {
		switch a.typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(a.value)
		case unix.IFA_FLAGS:
			m.flags = number(a.value)
		}
	}
	if family != unix.AF_INET && family != unix.AF_INET6 {
		return m, a.err
	}
	m.prefix = netip.PrefixFrom(address, bits)
	if local.IsValid() && local != address { // the prefix is the peer's
		m.prefix, m.peer = netip.PrefixFrom(local, local.BitLen()), address
	}
	return m, a.err
}
