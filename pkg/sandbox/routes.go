package sandbox

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
)

// moveDefaultRoutes makes gateways the pod's default routes, over the given
// interface. The default route of a family for which no gateway is given stays.
func moveDefaultRoutes(netns, ifName string, gateways []netip.Addr) error {
	h, err := link.OpenAt(netns)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.ByName(ifName)
	if err != nil {
		return err
	}
	for _, gw := range gateways {
		if err := replaceDefault(h, l.Index, gw); err != nil {
			return fmt.Errorf("gateway %s: %w; is it in the network's subnet?", gw, err)
		}
	}
	return nil
}

// replaceDefault deletes the family's default routes and adds the new one. If the
// kernel refuses the gateway, the pod has its old routes again.
func replaceDefault(h *link.Handle, index int, gw netip.Addr) error {
	all, err := h.IP.Routes(0)
	if err != nil {
		return err
	}
	var old []link.Route
	for _, r := range all {
		if ones, _ := r.Dst.Mask.Size(); ones == 0 && r.Table == unix.RT_TABLE_MAIN && (r.Dst.IP.To4() != nil) == gw.Is4() {
			old = append(old, r)
		}
	}
	for _, r := range old {
		if err := h.IP.DeleteRoute(r); err != nil {
			return err
		}
	}
	if err := h.IP.AddRoute(defaultRoute(index, gw)); err != nil {
		for _, r := range old {
			_ = h.IP.AddRoute(r) // as it was; the sandbox is undone anyway
		}
		return err
	}
	return nil
}

func defaultRoute(index int, gw netip.Addr) link.Route {
	dst := net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if gw.Is6() {
		dst = net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return link.Route{Link: index, Dst: dst, GW: gw.AsSlice()}
}
