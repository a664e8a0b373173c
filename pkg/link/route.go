package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Route is a unicast route. A nil GW means that the destination is on the link.
type Route struct {
	Link     int // ifindex; 0 for a route over several links
	Dst      net.IPNet
	GW       net.IP
	MTU      int
	AdvMSS   int
	Priority int
	Table    int // 0: main
	Scope    int
	Src      net.IP // preferred source address; nil: the kernel's choice
	Protocol int    // who made it (RTPROT_…); 0 in AddRoute: the administrator, at boot
	OnLink   bool   // GW is on the link, though no address of the link says so
	// Hops are set for a route over several links. IPv6 joins routes that have the same
	// destination and metric to such a route.
	Hops []Hop
}

// Hop is one of the ways of a route over several links.
type Hop struct {
	Link   int
	GW     net.IP
	OnLink bool
}

// Each returns a route for each hop, or the route itself if it is over one link.
func (r Route) Each() []Route {
	if len(r.Hops) == 0 {
		return []Route{r}
	}
	var all []Route
	for _, hop := range r.Hops {
		single := r
		single.Link, single.GW, single.OnLink, single.Hops = hop.Link, hop.GW, hop.OnLink, nil
		all = append(all, single)
	}
	return all
}

// IsDefault reports a default route of the main table.
func (r Route) IsDefault() bool {
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && (r.Table == 0 || r.Table == unix.RT_TABLE_MAIN)
}

// Advertised reports a route that the kernel has made from a router advertisement.
func (r Route) Advertised() bool { return r.Protocol == unix.RTPROT_RA }

func (r Route) String() string {
	s := r.Dst.String()
	if r.GW != nil {
		s += " via " + r.GW.String()
	}
	return s
}

// AddRoute adds a route. Like the stock CNI plugins, it allows several routes to one
// destination. If the same route exists, the error is ErrExists.
func (t IP) AddRoute(r Route) error {
	req := r.message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, nl.NewRtMsg())
	return wrap(fmt.Sprintf("add route %s to", r), linkNumber(r.Link), t.conn.acknowledged(req))
}

// ReplaceRoute adds a route in the place of one with the same destination, priority and
// table.
func (t IP) ReplaceRoute(r Route) error {
	req := r.message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, nl.NewRtMsg())
	return wrap(fmt.Sprintf("set route %s of", r), linkNumber(r.Link), t.conn.acknowledged(req))
}

// DeleteRoute removes a route.
func (t IP) DeleteRoute(r Route) error {
	req := r.message(unix.RTM_DELROUTE, 0, nl.NewRtDelMsg())
	return wrap(fmt.Sprintf("delete route %s of", r), linkNumber(r.Link), t.conn.acknowledged(req))
}

func (r Route) message(typ, flags int, msg *nl.RtMsg) *nl.NetlinkRequest {
	family, dst := familyOf(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	msg.Family, msg.Dst_len, msg.Scope = uint8(family), uint8(ones), uint8(r.Scope)
	req := request(typ, flags|unix.NLM_F_ACK, msg, nl.NewRtAttr(unix.RTA_DST, dst), u32(unix.RTA_OIF, uint32(r.Link)))
	if r.GW != nil {
		_, gw := familyOf(r.GW)
		req.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, gw))
	}
	if r.Src != nil {
		_, src := familyOf(r.Src)
		req.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, src))
	}
	if r.OnLink {
		msg.Flags |= unix.RTNH_F_ONLINK
	}
	if r.Protocol != 0 {
		msg.Protocol = uint8(r.Protocol)
	}
	switch {
	case r.Table > 255: // the header has 8 bits
		msg.Table = unix.RT_TABLE_UNSPEC
		req.AddData(u32(unix.RTA_TABLE, uint32(r.Table)))
	case r.Table > 0:
		msg.Table = uint8(r.Table)
	}
	if r.Priority > 0 {
		req.AddData(u32(unix.RTA_PRIORITY, uint32(r.Priority)))
	}
	if metrics := r.metrics(); len(metrics) > 0 {
		req.AddData(nested(unix.RTA_METRICS, metrics...))
	}
	return req
}

func (r Route) metrics() []*nl.RtAttr {
	var metrics []*nl.RtAttr
	if r.MTU > 0 {
		metrics = append(metrics, nl.NewRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(r.MTU))))
	}
	if r.AdvMSS > 0 {
		metrics = append(metrics, nl.NewRtAttr(unix.RTAX_ADVMSS, nl.Uint32Attr(uint32(r.AdvMSS))))
	}
	return metrics
}

// Routes lists the unicast routes over a link, in every table. Index 0 means those
// of all links.
func (t IP) Routes(index int) ([]Route, error) {
	var routes []Route
	err := dumpRoutes(t.conn, func() { routes = nil }, func(payload []byte) error {
		r, unicast, err := parseRoute(payload)
		if unicast && (index == 0 || r.Link == index) {
			routes = append(routes, r)
		}
		return err
	})
	if err != nil {
		return nil, wrap("list routes of", linkNumber(index), err)
	}
	return routes, nil
}

func dumpRoutes(c *conn, begin func(), each func(payload []byte) error) error {
	return c.dump(request(unix.RTM_GETROUTE, unix.NLM_F_DUMP, &nl.RtMsg{}), unix.RTM_NEWROUTE, begin, each)
}

// parseRoute reads an RTM_NEWROUTE message. Unicast is false for other types of routes, for
// families that are not IPv4 or IPv6, and for cache entries.
func parseRoute(msg []byte) (r Route, unicast bool, err error) {
	rt, err := rtmsg(msg)
	if err != nil || !rt.unicast() {
		return Route{}, false, err
	}
	r = Route{Table: int(rt.Table), Scope: int(rt.Scope), Protocol: int(rt.Protocol), OnLink: rt.Flags&unix.RTNH_F_ONLINK != 0}
	dst := make(net.IP, rt.addressSize())
	a := attributesOf(msg[unix.SizeofRtMsg:])
	for a.next() {
		switch a.typ {
		case unix.RTA_DST:
			copy(dst, a.value)
		case unix.RTA_GATEWAY:
			r.GW = net.IP(append([]byte{}, a.value...))
		case unix.RTA_PREFSRC:
			r.Src = net.IP(append([]byte{}, a.value...))
		case unix.RTA_OIF:
			r.Link = int(number(a.value))
		case unix.RTA_PRIORITY:
			r.Priority = int(number(a.value))
		case unix.RTA_TABLE:
			r.Table = int(number(a.value))
		case unix.RTA_METRICS:
			r.setMetrics(a.value)
		case unix.RTA_MULTIPATH:
			r.Hops = hops(a.value)
		}
	}
	r.Dst = net.IPNet{IP: dst, Mask: net.CIDRMask(int(rt.Dst_len), 8*len(dst))}
	return r, a.err == nil, a.err
}

// hops reads the value of RTA_MULTIPATH: struct rtnexthop, each with attributes.
func hops(value []byte) []Hop {
	var all []Hop
	for len(value) >= unix.SizeofRtNexthop {
		size := int(native.Uint16(value))
		if size < unix.SizeofRtNexthop || size > len(value) {
			break
		}
		hop := Hop{Link: int(native.Uint32(value[4:])), OnLink: value[2]&unix.RTNH_F_ONLINK != 0}
		for a := attributesOf(value[unix.SizeofRtNexthop:size]); a.next(); {
			if a.typ == unix.RTA_GATEWAY {
				hop.GW = net.IP(append([]byte{}, a.value...))
			}
		}
		all = append(all, hop)
		value = value[min(aligned(size), len(value)):]
	}
	return all
}

func (r *Route) setMetrics(value []byte) {
	for a := attributesOf(value); a.next(); {
		switch a.typ {
		case unix.RTAX_MTU:
			r.MTU = int(number(a.value))
		case unix.RTAX_ADVMSS:
			r.AdvMSS = int(number(a.value))
		}
	}
}

// routeHeader is the header of a message about a route.
type routeHeader struct{ unix.RtMsg }

func rtmsg(msg []byte) (routeHeader, error) {
	if len(msg) < unix.SizeofRtMsg {
		return routeHeader{}, fmt.Errorf("message of %d bytes is too short for a route", len(msg))
	}
	return routeHeader{unix.RtMsg{Family: msg[0], Dst_len: msg[1], Src_len: msg[2], Tos: msg[3], Table: msg[4],
		Protocol: msg[5], Scope: msg[6], Type: msg[7], Flags: native.Uint32(msg[8:])}}, nil
}

func (r routeHeader) unicast() bool {
	return r.addressSize() > 0 && r.Type == unix.RTN_UNICAST && r.Flags&unix.RTM_F_CLONED == 0
}

// addressSize returns the size of an address in bytes, 0 if the family is not IP.
func (r routeHeader) addressSize() int {
	switch r.Family {
	case unix.AF_INET:
		return net.IPv4len
	case unix.AF_INET6:
		return net.IPv6len
	}
	return 0
}

// DefaultLink returns the link of the best default route, IPv4 before IPv6.
func (t IP) DefaultLink() (Link, error) {
	routes, err := t.Routes(0)
	if err != nil {
		return Link{}, err
	}
	var best *Route
	for i, r := range routes {
		if r.IsDefault() && r.Link != 0 && betterRoute(r, best) {
			best = &routes[i]
		}
	}
	if best == nil {
		return Link{}, wrap("look up", "the default route", fmt.Errorf("there is no such route: %w", unix.ESRCH))
	}
	return lookups(t).ByIndex(best.Link)
}

func betterRoute(r Route, than *Route) bool {
	if than == nil {
		return true
	}
	if v4, thanV4 := r.Dst.IP.To4() != nil, than.Dst.IP.To4() != nil; v4 != thanV4 {
		return v4
	}
	return r.Priority < than.Priority
}
