package sandbox

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"fairlead.dev/fairlead/pkg/attach"
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
		if r.IsDefault() && isIPv4(r) == gw.Is4() {
			old = append(old, r.Each()...)
		}
	}
	for _, r := range old {
		if err := deleteRoute(h, r); err != nil {
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

// deleteRoute takes one that is gone for deleted: with one way of an IPv4 route over several
// links, the kernel deletes the others.
func deleteRoute(h *link.Handle, r link.Route) error {
	if err := h.IP.DeleteRoute(r); err != nil && !errors.Is(err, link.ErrNotFound) {
		return err
	}
	return nil
}

func isIPv4(r link.Route) bool { return r.Dst.IP.To4() != nil }

func defaultRoute(index int, gw netip.Addr) link.Route {
	dst := net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if gw.Is6() {
		dst = net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	return link.Route{Link: index, Dst: dst, GW: gw.AsSlice()}
}

// keepDefaultRoutes gives each default route that is not over the primary's interfaces a
// metric above theirs, if it would be taken before them. Traffic that is bound to a
// secondary interface still finds its route. A family in which the primary has no default
// route is left alone.
func keepDefaultRoutes(netns string, primary, secondary []string) ([]MovedRoute, error) {
	h, err := link.OpenAt(netns)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.Do(func() error { return putAdvertisedBehind(secondary) }); err != nil {
		return nil, err
	}
	ours := map[int]bool{}
	for _, name := range primary {
		l, err := h.ByName(name)
		if errors.Is(err, link.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ours[l.Index] = true
	}
	all, err := h.IP.Routes(0)
	if err != nil {
		return nil, err
	}
	var moved []MovedRoute
	for _, ipv4 := range []bool{true, false} {
		more, err := family{h, ours, ipv4}.keep(all)
		if err != nil {
			return moved, err
		}
		moved = append(moved, more...)
	}
	return moved, nil
}

func putAdvertisedBehind(interfaces []string) error {
	for _, name := range interfaces {
		if err := attach.PutAdvertisedBehind(name); err != nil {
			return err
		}
	}
	return nil
}

// family is one family's default routes in a pod.
type family struct {
	h    *link.Handle
	ours map[int]bool // links of the primary
	ipv4 bool
}

func (f family) keep(all []link.Route) ([]MovedRoute, error) {
	var own, others []link.Route
	for _, r := range all {
		if !r.IsDefault() || isIPv4(r) != f.ipv4 {
			continue
		}
		for _, single := range r.Each() {
			if f.ours[single.Link] {
				own = append(own, single)
			} else {
				others = append(others, single)
			}
		}
	}
	if len(own) == 0 {
		return nil, nil
	}
	first, last := own[0].Priority, own[0].Priority
	for _, r := range own {
		first, last = min(first, r.Priority), max(last, r.Priority)
	}
	var moved []MovedRoute
	for _, r := range others {
		if r.Priority > first {
			continue
		}
		last++
		name, err := f.putBehind(r, last)
		if err != nil {
			return moved, err
		}
		moved = append(moved, MovedRoute{IfName: name, IPv4: f.ipv4, Metric: last})
	}
	return moved, nil
}

// putBehind replaces a route by one with the metric. A route that a router has advertised
// comes back with the metric of its interface.
func (f family) putBehind(r link.Route, metric int) (ifName string, err error) {
	if err := deleteRoute(f.h, r); err != nil {
		return "", err
	}
	if !r.Advertised() {
		r.Priority = metric
		if err := f.h.IP.AddRoute(r); err != nil {
			return "", err
		}
	}
	l, err := f.h.ByIndex(r.Link)
	return l.Name, err
}
