package link

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Address is an IP address of a link.
type Address struct {
	IPNet net.IPNet
	// Tentative: duplicate address detection runs, and the address cannot be used
	// yet, unless it is Optimistic. Duplicate: somebody else on the link has it.
	Tentative, Optimistic, Duplicate bool
	// Expires: it is held for a time, as of DHCP or router advertisements.
	Expires bool
}

// InUse tells an address that somebody gave the link from those that any link gets
// that is up: link-local ones, and with IPv6 those that the kernel makes of router
// advertisements, which expire.
func (a Address) InUse() bool {
	advertised := a.IPNet.IP.To4() == nil && a.Expires
	return !a.IPNet.IP.IsLinkLocalUnicast() && !advertised
}

// Route is a unicast route. A nil GW means that the destination is on the link.
type Route struct {
	Link     int // ifindex
	Dst      net.IPNet
	GW       net.IP
	MTU      int
	AdvMSS   int
	Priority int
	Table    int // 0: main
	Scope    int
}

func (r Route) String() string {
	s := r.Dst.String()
	if r.GW != nil {
		s += " via " + r.GW.String()
	}
	return s
}

// AddAddress gives a link an address with its prefix length. An IPv6 one may be
// asked for as Optimistic, usable at once; the kernel does so where the link's
// sysctl optimistic_dad is on. The sysctl alone does nothing for such addresses.
func (h *Handle) AddAddress(index int, addr Address) error {
	a := &netlink.Addr{IPNet: &addr.IPNet}
	if addr.Optimistic {
		a.Flags = unix.IFA_F_OPTIMISTIC
	}
	return wrap("adding address "+addr.IPNet.String(), indexed(index), h.nlink.AddrAdd(attrsOf(index), a))
}

// DeleteAddress takes an address from a link.
func (h *Handle) DeleteAddress(index int, addr net.IPNet) error {
	return wrap("deleting address "+addr.String(), indexed(index),
		h.nlink.AddrDel(attrsOf(index), &netlink.Addr{IPNet: &addr}))
}

// Addresses lists a link's addresses of both families.
func (h *Handle) Addresses(index int) ([]Address, error) {
	var found []netlink.Addr
	err := h.dump(func() (err error) {
		found, err = h.nlink.AddrList(attrsOf(index), netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, wrap("listing addresses", indexed(index), err)
	}
	addrs := make([]Address, 0, len(found))
	for _, a := range found {
		addrs = append(addrs, addressOf(a))
	}
	return addrs, nil
}

func addressOf(a netlink.Addr) Address {
	return Address{
		IPNet:      *a.IPNet,
		Tentative:  a.Flags&unix.IFA_F_TENTATIVE != 0,
		Optimistic: a.Flags&unix.IFA_F_OPTIMISTIC != 0,
		Duplicate:  a.Flags&unix.IFA_F_DADFAILED != 0,
		Expires:    a.Flags&unix.IFA_F_PERMANENT == 0,
	}
}

// AddRoute adds a route, beside others to the same destination as the stock CNI
// plugins do; the same route twice is ErrExists.
func (h *Handle) AddRoute(r Route) error {
	return wrap("adding route "+r.String(), indexed(r.Link), h.nlink.RouteAddEcmp(r.netlink()))
}

// DeleteRoute removes a route.
func (h *Handle) DeleteRoute(r Route) error {
	return wrap("deleting route "+r.String(), indexed(r.Link), h.nlink.RouteDel(r.netlink()))
}

// Routes lists the unicast routes over a link, in every table. Index 0 means
// those of all links.
func (h *Handle) Routes(index int) ([]Route, error) {
	// A filter by table, with table 0, is the library's way to get all tables.
	filter, mask := &netlink.Route{LinkIndex: index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE
	if index != 0 {
		mask |= netlink.RT_FILTER_OIF
	}
	var found []netlink.Route
	err := h.dump(func() (err error) {
		found, err = h.nlink.RouteListFiltered(netlink.FAMILY_ALL, filter, mask)
		return err
	})
	if err != nil {
		return nil, wrap("listing routes", indexed(index), err)
	}
	var routes []Route
	for _, r := range found {
		if r.Type == unix.RTN_UNICAST && r.Dst != nil {
			routes = append(routes, Route{Link: r.LinkIndex, Dst: *r.Dst, GW: r.Gw, MTU: r.MTU,
				AdvMSS: r.AdvMSS, Priority: r.Priority, Table: r.Table, Scope: int(r.Scope)})
		}
	}
	return routes, nil
}

// DefaultLink is the link of the best default route, IPv4 before IPv6.
func (h *Handle) DefaultLink() (Link, error) {
	routes, err := h.Routes(0)
	if err != nil {
		return Link{}, err
	}
	var best *Route
	for i, r := range routes {
		if ones, _ := r.Dst.Mask.Size(); ones == 0 && r.Table == unix.RT_TABLE_MAIN && r.Link != 0 && better(r, best) {
			best = &routes[i]
		}
	}
	if best == nil {
		return Link{}, wrap("look-up", "the default route", fmt.Errorf("there is none: %w", unix.ESRCH))
	}
	return h.ByIndex(best.Link)
}

func better(r Route, than *Route) bool {
	if than == nil {
		return true
	}
	if v4, thanV4 := r.Dst.IP.To4() != nil, than.Dst.IP.To4() != nil; v4 != thanV4 {
		return v4
	}
	return r.Priority < than.Priority
}

func (r Route) netlink() *netlink.Route {
	return &netlink.Route{LinkIndex: r.Link, Dst: &r.Dst, Gw: r.GW, MTU: r.MTU, AdvMSS: r.AdvMSS,
		Priority: r.Priority, Table: r.Table, Scope: netlink.Scope(r.Scope)}
}

// dump repeats a listing that a concurrent change interrupted.
func (h *Handle) dump(list func() error) error {
	err := error(netlink.ErrDumpInterrupted)
	for try := 0; try < dumpTries && errors.Is(err, netlink.ErrDumpInterrupted); try++ {
		err = list()
	}
	return err
}

// attrsOf satisfies the library, which wants a link where an ifindex would do.
func attrsOf(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}
