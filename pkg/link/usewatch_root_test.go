//go:build root

package link_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// devices B9: a table that events keep up says after each change what a listing says.
// Some changes the kernel does not announce: IPv4 routes go silently with a link that
// is taken down, and with a link's last address.
func TestUseTableSaysWhatAListingSays(t *testing.T) {
	path := netnstest.New(t)
	h, elsewhere := handleAt(t, path), handle(t)
	uses := watchUse(t, path)
	a, b := veth(t, h, "a0", "a1"), veth(t, h, "b0", "b1")
	on := func(l link.Link) *netlink.Device { return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}} }
	add := func(l link.Link, text string, lifetime int) func() error {
		addr, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addr.ValidLft, addr.PreferedLft = lifetime, lifetime
		if l.Up { // the kernel does not announce a new lifetime during duplicate address detection
			addr.Flags = unix.IFA_F_NODAD
		}
		return func() error { return netlink.AddrReplace(on(l), addr) }
	}
	remove := func(l link.Link, text string) func() error {
		return func() error { return h.DeleteAddress(l.Index, cidr(text)) }
	}
	peer := func(change func(netlink.Link, *netlink.Addr) error) func() error {
		return func() error {
			return change(on(b), &netlink.Addr{IPNet: ptr(cidr("192.0.2.1/32")), Peer: ptr(cidr("192.0.2.9/32"))})
		}
	}
	route := func(change func(*netlink.Route) error, dst string, protocol int, links ...link.Link) func() error {
		d := cidr(dst)
		r := &netlink.Route{Dst: &d, Protocol: netlink.RouteProtocol(protocol), LinkIndex: links[0].Index}
		if d.IP.To4() != nil {
			r.Scope = netlink.SCOPE_LINK
		}
		if len(links) > 1 {
			r.LinkIndex = 0
			for _, l := range links {
				hop := &netlink.NexthopInfo{LinkIndex: l.Index}
				if d.IP.To4() == nil { // the kernel wants a gateway
					hop.Gw = net.ParseIP("fe80::1")
				}
				r.MultiPath = append(r.MultiPath, hop)
			}
		}
		return func() error { return change(r) }
	}
	v4, v6 := "0.0.0.0/0", "::/0"
	down := func(l link.Link) func() error { return func() error { return h.SetDown(l.Index) } }
	up := func(l link.Link) func() error { return func() error { return h.SetUp(l.Index) } }
	master := func(l link.Link, m string) func() error {
		return func() error {
			bridge, err := h.ByName(m)
			return errors.Join(err, netlink.LinkSetMasterByIndex(on(l), bridge.Index))
		}
	}
	steps := []struct {
		name string
		do   func() error
		want string // of a0, b0
	}{
		{"nothing", func() error { return nil }, "-, -"},
		{"IPv6 address on a link that is down", add(a, "2001:db8::1/64", 0), "with the address 2001:db8::1/64, -"},
		{"without it", remove(a, "2001:db8::1/64"), "-, -"},
		{"a up", up(a), "-, -"},
		{"its peer up", func() error {
			l, err := h.ByName("a1")
			return errors.Join(err, h.SetUp(l.Index))
		}, "-, -"},
		{"IPv6 address, announced late", add(upLink(a), "2001:db8::2/64", 0), "with the address 2001:db8::2/64, -"},
		{"it expires from now on", add(upLink(a), "2001:db8::2/64", 600), "-, -"},
		{"b up", up(b), "-, -"},
		{"IPv4 address", add(b, "192.0.2.1/24", 0), "-, with the address 192.0.2.1/24"},
		{"the same with a peer", peer(netlink.AddrAdd), "-, with the address 192.0.2.1/24"},
		{"without the first", remove(b, "192.0.2.1/24"), "-, with the address 192.0.2.1/32"},
		{"default route", route(netlink.RouteAdd, v4, unix.RTPROT_STATIC, b), "-, for a default route"},
		{"link with the route down", down(b), "-, with the address 192.0.2.1/32"},
		{"up", up(b), "-, with the address 192.0.2.1/32"},
		{"default route again", route(netlink.RouteAdd, v4, unix.RTPROT_STATIC, b), "-, for a default route"},
		{"its last address removed", peer(netlink.AddrDel), "-, -"},
		{"route over both", route(netlink.RouteAdd, v4, unix.RTPROT_STATIC, a, b), "for a default route, for a default route"},
		{"without it", route(netlink.RouteDel, v4, unix.RTPROT_STATIC, a, b), "-, -"},
		{"IPv6 default route", route(netlink.RouteAdd, v6, unix.RTPROT_STATIC, a), "for a default route, -"},
		{"without it", route(netlink.RouteDel, v6, unix.RTPROT_STATIC, a), "-, -"},
		{"IPv6 route over both", route(netlink.RouteAdd, v6, unix.RTPROT_STATIC, a, b), "for a default route, for a default route"},
		{"one of them down", down(a), "for a default route, for a default route"},
		{"the other down", down(b), "-, -"},
		{"a up", up(a), "-, -"},
		{"IPv6 default route of router advertisements", route(netlink.RouteAdd, v6, unix.RTPROT_RA, a), "-, -"},
		{"macvlan on top", func() error {
			_, err := h.AddMacvlan(link.Spec{Name: "top0", Parent: a.Index}, "bridge", 0, h)
			return err
		}, "below top0, -"},
		{"renamed", func() error {
			l, err := h.ByName("top0")
			return errors.Join(err, h.Rename(l.Index, "mgmt"))
		}, "below mgmt, -"},
		{"moved away", func() error {
			l, err := h.ByName("mgmt")
			return errors.Join(err, h.MoveTo(l.Index, elsewhere, "net1", 0))
		}, "-, -"},
		{"vxlan over it", func() error {
			return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0"}, VxlanId: 7, VtepDevIndex: a.Index, Port: 4789})
		}, "below vx0, -"},
		{"without it", func() error {
			l, err := h.ByName("vx0")
			return errors.Join(err, h.Delete(l.Index))
		}, "-, -"},
		{"bridge", func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}) }, "-, -"},
		{"port", master(b, "br0"), "-, as a port of a bridge or bond"},
		{"no port", func() error { return netlink.LinkSetNoMaster(on(b)) }, "-, -"},
		{"port again", master(b, "br0"), "-, as a port of a bridge or bond"},
		{"bridge gone", func() error {
			l, err := h.ByName("br0")
			return errors.Join(err, h.Delete(l.Index))
		}, "-, -"},
	}
	for _, s := range steps {
		if err := h.Do(s.do); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		table, err := uses.All()
		for deadline := time.Now().Add(5 * time.Second); strings.HasSuffix(s.name, "late") && time.Now().Before(deadline); {
			if table, err = uses.All(); text(table[a.Index])+", "+text(table[b.Index]) == s.want {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := text(table[a.Index]) + ", " + text(table[b.Index]); got != s.want {
			t.Errorf("%s: %q, want %q", s.name, got, s.want)
		}
		listing, err := h.Uses()
		if diff := cmp.Diff(listing, table, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
			t.Fatalf("%s: %v (-listing +table):\n%s", s.name, err, diff)
		}
		if u, err := uses.Of(a.Index); err != nil || text(u) != text(table[a.Index]) {
			t.Errorf("%s: of a0 alone %q, %v", s.name, text(u), err)
		}
	}
	if _, err := uses.Of(9999); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("a link that is not there: %v, want ErrNotFound", err)
	}
}

func upLink(l link.Link) link.Link {
	l.Up = true
	return l
}

func text(u link.Use) string {
	if !u.Any() {
		return "-"
	}
	return u.String()
}

func TestUseTableReportsChangesAndEnds(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	l := veth(t, h, "eth3", "peer")
	ctx, cancel := context.WithCancel(context.Background())
	var uses *link.UseTable
	inside(t, path, func() (err error) {
		uses, err = link.WatchUse(ctx)
		return err
	})
	<-uses.Changed() // the first reading
	if err := h.SetMTU(l.Index, 1400); err != nil {
		t.Fatal(err)
	}
	select {
	case <-uses.Changed():
		t.Error("the MTU was taken for a use")
	case <-time.After(50 * time.Millisecond):
	}
	if err := h.AddAddress(l.Index, link.Address{IPNet: cidr("192.0.2.1/24")}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-uses.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("an address was not reported")
	}
	cancel()
	for range uses.Changed() { // closed once ctx has ended
	}
	if _, err := uses.All(); err == nil {
		t.Error("a watch that has ended answers")
	}
}

// A reader that was too slow has the kernel drop messages. The table is read again.
func TestUseTableReadsAgainAfterLoss(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	l := veth(t, h, "eth3", "peer")
	uses := watchUse(t, path)
	uses.Pause(func() { // no reader meanwhile
		for n := range 20000 {
			if err := h.SetMTU(l.Index, 1300+n%2); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.AddAddress(l.Index, link.Address{IPNet: cidr("192.0.2.1/24")}); err != nil {
			t.Fatal(err)
		}
	})
	if u, err := uses.Of(l.Index); err != nil || !u.Any() {
		t.Errorf("after lost messages: %+v, %v", u, err)
	}
}

// An IPv6 address without duplicate address detection is not announced as long as
// the link is down.
func TestUseTableIsReadAgainOnDemand(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	l := veth(t, h, "eth3", "peer")
	uses := watchUse(t, path)
	addr, _ := netlink.ParseAddr("2001:db8::1/64")
	addr.Flags = unix.IFA_F_NODAD
	if err := h.Do(func() error { return netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}, addr) }); err != nil {
		t.Fatal(err)
	}
	if err := uses.Reread(); err != nil {
		t.Fatal(err)
	}
	if u, err := uses.Of(l.Index); err != nil || !u.Any() {
		t.Errorf("got %+v, %v", u, err)
	}
}

// devices C6: what has no IPv4 is seen too.
func TestUseOfOneLink(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	if err := h.SetUp(l.Index); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Use(l.Index); err != nil || u.Any() || u.String() != "" {
		t.Errorf("a new link: %+v, %v", u, err)
	}
	_, all, _ := net.ParseCIDR("::/0")
	if err := h.AddRoute(link.Route{Link: l.Index, Dst: *all}); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Use(l.Index); err != nil || !u.DefaultRoute {
		t.Errorf("with an IPv6 default route: %+v, %v", u, err)
	}
	if _, err := h.Use(9999); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("a link that is not there: %v, want ErrNotFound", err)
	}
}

func watchUse(t testing.TB, path string) *link.UseTable {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var uses *link.UseTable
	inside(t, path, func() (err error) {
		uses, err = link.WatchUse(ctx)
		return err
	})
	return uses
}
