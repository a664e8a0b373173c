//go:build root

package link_test

import (
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func TestBusyLinks(t *testing.T) {
	host := handle(t)
	for _, name := range []string{"port0", "under0", "route0", "multi0", "addr0", "ra0", "local0", "idle0"} {
		if err := host.SetUp(veth(t, host, name, "p-"+name).Index); err != nil {
			t.Fatal(err)
		}
	}
	index := func(name string) int {
		l, err := host.ByName(name)
		if err != nil {
			t.Error(err)
		}
		return l.Index
	}
	addr := func(link, text string, lifetime int) error {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.ValidLft, a.PreferedLft = lifetime, lifetime
		return netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index(link)}}, a)
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	err := host.Do(func() error {
		return errors.Join(
			netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}),
			netlink.LinkSetMasterByIndex(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index("port0")}}, index("br0")),
			netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "top0", ParentIndex: index("under0")}, Mode: netlink.MACVLAN_MODE_BRIDGE}),
			addr("addr0", "192.0.2.1/24", 600), // DHCP's expire as well
			addr("ra0", "2001:db8::1/64", 600), // as the kernel makes of router advertisements
			addr("local0", "169.254.1.1/16", 0),
			netlink.RouteAdd(&netlink.Route{LinkIndex: index("route0"), Dst: all, Scope: netlink.SCOPE_LINK, Table: 100}),
			netlink.RouteAdd(&netlink.Route{Dst: all, Scope: netlink.SCOPE_LINK, MultiPath: []*netlink.NexthopInfo{
				{LinkIndex: index("multi0")}, {LinkIndex: index("route0")},
			}}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"port0": "as a port of a bridge or bond", "under0": "below top0", "route0": "for a default route",
		"multi0": "for a default route", "addr0": "with the address 192.0.2.1/24",
	}
	if diff := cmp.Diff(want, inUse(t, host)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
