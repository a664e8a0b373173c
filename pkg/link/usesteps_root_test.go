//go:build root

package link_test

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

// wires are two links of a namespace whose use changes.
type wires struct {
	t    *testing.T
	h    *link.Handle
	a, b link.Link
}

type useStep struct {
	name string // ends in "late" if the kernel announces the change late
	do   func() error
	want string // use of a and b afterwards
}

func (w wires) text(uses map[int]link.Use) string {
	return text(uses[w.a.Index]) + ", " + text(uses[w.b.Index])
}

func (w wires) addressSteps() []useStep {
	return []useStep{
		{"nothing", func() error { return nil }, "-, -"},
		{"IPv6 address on a link that is down", w.add(w.a, "2001:db8::1/64", 0, 0), "with the address 2001:db8::1/64, -"},
		{"without it", w.remove(w.a, "2001:db8::1/64"), "-, -"},
		{"a up", w.up("a0"), "-, -"},
		{"its peer up", w.up("a1"), "-, -"},
		// Without duplicate address detection: during it a new lifetime is not announced.
		{"IPv6 address, late", w.add(w.a, "2001:db8::2/64", 0, unix.IFA_F_NODAD), "with the address 2001:db8::2/64, -"},
		{"it expires from now on", w.add(w.a, "2001:db8::2/64", 600, unix.IFA_F_NODAD), "-, -"},
		{"b up", w.up("b0"), "-, -"},
		{"IPv4 address", w.add(w.b, "192.0.2.1/24", 0, 0), "-, with the address 192.0.2.1/24"},
		{"the same with a peer", w.peer(netlink.AddrAdd), "-, with the address 192.0.2.1/24"},
		{"without the first", w.remove(w.b, "192.0.2.1/24"), "-, with the address 192.0.2.1/32"},
	}
}

func (w wires) routeSteps() []useStep {
	const v4, v6 = "0.0.0.0/0", "::/0"
	both := []link.Link{w.a, w.b}
	return []useStep{
		{"default route", w.route(netlink.RouteAdd, v4, 0, w.b), "-, for a default route"},
		{"link with the route down", w.down("b0"), "-, with the address 192.0.2.1/32"},
		{"up", w.up("b0"), "-, with the address 192.0.2.1/32"},
		{"default route again", w.route(netlink.RouteAdd, v4, 0, w.b), "-, for a default route"},
		{"its last address removed", w.peer(netlink.AddrDel), "-, -"},
		{"route over both", w.route(netlink.RouteAdd, v4, 0, both...), "for a default route, for a default route"},
		{"without it", w.route(netlink.RouteDel, v4, 0, both...), "-, -"},
		{"address on a", w.add(w.a, "192.0.2.7/24", 0, 0), "with the address 192.0.2.7/24, -"},
		{"route over b from there", w.route(w.from("192.0.2.7"), v4, 0, w.b), "with the address 192.0.2.7/24, for a default route"},
		{"without the address", w.remove(w.a, "192.0.2.7/24"), "-, -"},
		{"IPv6 default route", w.route(netlink.RouteAdd, v6, 0, w.a), "for a default route, -"},
		{"without it", w.route(netlink.RouteDel, v6, 0, w.a), "-, -"},
		{"IPv6 route over both", w.route(netlink.RouteAdd, v6, 0, both...), "for a default route, for a default route"},
		{"one of them down", w.down("a0"), "for a default route, for a default route"},
		{"the other down", w.down("b0"), "-, -"},
		{"a up", w.up("a0"), "-, -"},
		{"IPv6 default route of router advertisements", w.route(netlink.RouteAdd, v6, unix.RTPROT_RA, w.a), "-, -"},
	}
}

func (w wires) linkSteps() []useStep {
	elsewhere := handle(w.t)
	return []useStep{
		{"macvlan on top", func() error {
			_, err := w.h.AddMacvlan(link.Spec{Name: "top0", Parent: w.a.Index}, "bridge", 0, w.h)
			return err
		}, "below top0, -"},
		{"renamed", w.with("top0", func(l link.Link) error { return w.h.Rename(l.Index, "mgmt") }), "below mgmt, -"},
		{"moved away", w.with("mgmt", func(l link.Link) error { return w.h.MoveTo(l.Index, elsewhere, "net1", 0) }), "-, -"},
		{"vxlan over it", func() error {
			return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0"}, VxlanId: 7, VtepDevIndex: w.a.Index, Port: 4789})
		}, "below vx0, -"},
		{"without it", w.with("vx0", func(l link.Link) error { return w.h.Delete(l.Index) }), "-, -"},
		{"bridge", func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}) }, "-, -"},
		{"port", w.with("br0", func(l link.Link) error { return netlink.LinkSetMasterByIndex(on(w.b), l.Index) }), "-, as a port of a bridge or bond"},
		{"no port", func() error { return netlink.LinkSetNoMaster(on(w.b)) }, "-, -"},
		{"port again", w.with("br0", func(l link.Link) error { return netlink.LinkSetMasterByIndex(on(w.b), l.Index) }), "-, as a port of a bridge or bond"},
		{"bridge gone", w.with("br0", func(l link.Link) error { return w.h.Delete(l.Index) }), "-, -"},
	}
}

// on satisfies the library, which wants a link rather than an ifindex.
func on(l link.Link) *netlink.Device {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}
}

func (w wires) with(name string, do func(link.Link) error) func() error {
	return func() error {
		l, err := w.h.ByName(name)
		if err != nil {
			return err
		}
		return do(l)
	}
}

func (w wires) up(name string) func() error {
	return w.with(name, func(l link.Link) error { return w.h.SetUp(l.Index) })
}

func (w wires) down(name string) func() error {
	return w.with(name, func(l link.Link) error { return w.h.SetDown(l.Index) })
}

func (w wires) add(l link.Link, text string, lifetime, flags int) func() error {
	return func() error {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		addr.ValidLft, addr.PreferedLft, addr.Flags = lifetime, lifetime, flags
		return netlink.AddrReplace(on(l), addr)
	}
}

func (w wires) remove(l link.Link, text string) func() error {
	return func() error { return w.h.IP.DeleteAddress(l.Index, cidr(text)) }
}

func (w wires) peer(change func(netlink.Link, *netlink.Addr) error) func() error {
	return func() error {
		return change(on(w.b), &netlink.Addr{IPNet: ptr(cidr("192.0.2.1/32")), Peer: ptr(cidr("192.0.2.9/32"))})
	}
}

func (w wires) route(change func(*netlink.Route) error, dst string, protocol int, links ...link.Link) func() error {
	d := cidr(dst)
	r := &netlink.Route{Dst: &d, Protocol: netlink.RouteProtocol(protocol), LinkIndex: links[0].Index}
	if d.IP.To4() != nil {
		r.Scope = netlink.SCOPE_LINK
	}
	for _, l := range links[1:] {
		r.LinkIndex = 0
		r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: l.Index})
	}
	if r.MultiPath != nil {
		r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{LinkIndex: links[0].Index})
	}
	for _, hop := range r.MultiPath {
		if d.IP.To4() == nil { // the kernel wants a gateway
			hop.Gw = net.ParseIP("fe80::1")
		}
	}
	return func() error { return change(r) }
}

func (w wires) from(source string) func(*netlink.Route) error {
	return func(r *netlink.Route) error {
		r.Src = net.ParseIP(source)
		return netlink.RouteAdd(r)
	}
}
