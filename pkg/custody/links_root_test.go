//go:build root

package custody

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// devices A1, C6, meta-cni A2, security S6: each use that the host makes of a VF's
// netdev is in the View soon by events, and at once if it is confirmed.
func TestTheHostsUseOfLinks(t *testing.T) {
	h, err := link.OpenAt(netnstest.New(t))
	must(t, err)
	t.Cleanup(h.Close)
	on := func(change func(netlink.Link) error) func(netlink.Link) error {
		return func(l netlink.Link) error { return h.Do(func() error { return change(l) }) }
	}
	vfLink := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ens1f0v0", TxQLen: -1}, PeerName: "peer"}
	must(t, on(netlink.LinkAdd)(vfLink))
	must(t, on(netlink.LinkSetUp)(vfLink))
	top := &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "storage0", ParentIndex: vfLink.Index, TxQLen: -1}, Mode: netlink.MACVLAN_MODE_BRIDGE}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1}}
	must(t, on(netlink.LinkAdd)(bridge))
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(24, 32)}}
	_, all6, _ := net.ParseCIDR("::/0")
	route := &netlink.Route{LinkIndex: vfLink.Index, Dst: all6}

	o := New(Sources{Devices: nodeDevices{newNode()}, Functions: newNode(), Host: Links(h)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- o.Run(ctx) }()
	await(t, o, "")
	for _, tt := range []struct {
		change func(netlink.Link) error
		want   string
	}{
		{func(netlink.Link) error { return netlink.LinkAdd(top) }, "below storage0"},
		{func(netlink.Link) error { return netlink.LinkDel(top) }, ""},
		{func(l netlink.Link) error { return netlink.AddrAdd(l, addr) }, "with the address 10.0.0.1/24"},
		{func(l netlink.Link) error { return netlink.AddrDel(l, addr) }, ""},
		{func(netlink.Link) error { return netlink.RouteAdd(route) }, "for a default route"},
		{func(netlink.Link) error { return netlink.RouteDel(route) }, ""},
		{func(l netlink.Link) error { return netlink.LinkSetMaster(l, bridge) }, "as a port of a bridge or bond"},
		{netlink.LinkSetNoMaster, ""},
	} {
		must(t, on(tt.change)(vfLink))
		v, err := o.Confirm(ctx, vf0)
		must(t, err)
		if got := how(v); got != tt.want {
			t.Errorf("confirmed: %q, want %q", got, tt.want)
		}
		await(t, o, tt.want)
	}
	cancel()
	must(t, <-done)
}

// After the events have ended, and before they begin again, single netdevs can still be
// confirmed: the kernel is asked.
func TestOfAfterTheEventsHaveEnded(t *testing.T) {
	h, err := link.OpenAt(netnstest.New(t))
	must(t, err)
	t.Cleanup(h.Close)
	must(t, h.Do(func() error {
		vf := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ens1f0v0", TxQLen: -1}, PeerName: "peer"}
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 0, 0, 1), Mask: net.CIDRMask(24, 32)}}
		return errors.Join(netlink.LinkAdd(vf), netlink.AddrAdd(vf, addr))
	}))
	host := Links(h)
	ctx, cancel := context.WithCancel(t.Context())
	tables, err := host.Watch(ctx)
	must(t, err)
	cancel()
	for range tables { // until they end
	}
	use, err := host.Of("ens1f0v0")
	if err != nil || use.How != "with the address 10.0.0.1/24" {
		t.Errorf("%+v, %v", use, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, o *Oracle, want string) {
	t.Helper()
	views, unsubscribe := o.Subscribe()
	defer unsubscribe()
	until := time.After(5 * time.Second)
	for how(o.View()) != want {
		select {
		case <-views:
		case <-until:
			t.Fatalf("the View says %q after 5 s, want %q", how(o.View()), want)
		}
	}
}

// how returns how the host uses the netdev of vf0. An Unknown use counts too.
func how(v *View) string {
	uses := v.Uses(vf0)
	switch {
	case len(uses) == 0:
		return ""
	case uses[0].Kind == Unknown:
		return uses[0].Failure
	}
	return uses[0].How
}
