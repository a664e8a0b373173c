package link

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Busy tells by name which links the namespace's own network uses, and for what: a
// bridge or bond, a link on top, a default route, an address. It takes one dump of
// each, whatever the number of links.
//
// What every link gets that is up does not count: see Address.InUse; nor does the
// IPv6 default route that comes along with router advertisements.
func (h *Handle) Busy() (map[string]string, error) {
	links, err := h.List()
	if err != nil {
		return nil, err
	}
	use := map[int]string{}
	for _, l := range links {
		if l.Master != 0 {
			use[l.Index] = "as a port of a bridge or bond"
		}
		if onTop[l.Kind] && l.Parent != 0 {
			use[l.Parent] = "below " + l.Name
		}
	}
	if err := h.addDefaultRoutes(use); err != nil {
		return nil, err
	}
	if err := h.addAddresses(use); err != nil {
		return nil, err
	}
	busy := map[string]string{}
	for _, l := range links {
		if how := use[l.Index]; how != "" {
			busy[l.Name] = how
		}
	}
	return busy, nil
}

// onTop are kinds whose parent lies in the same namespace: a veth's is its peer,
// whose index means another link here.
var onTop = map[string]bool{"vlan": true, "macvlan": true, "macvtap": true, "ipvlan": true, "ipvtap": true}

func (h *Handle) addDefaultRoutes(use map[int]string) error {
	filter := &netlink.Route{Table: unix.RT_TABLE_UNSPEC} // all tables, and no destination
	var routes []netlink.Route
	err := h.dump(func() (err error) {
		routes, err = h.nlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		return err
	})
	for _, r := range routes {
		use[r.LinkIndex] = "for a default route"
		for _, hop := range r.MultiPath {
			use[hop.LinkIndex] = "for a default route"
		}
	}
	return wrap("listing", "default routes", err)
}

func (h *Handle) addAddresses(use map[int]string) error {
	var addrs []netlink.Addr
	err := h.dump(func() (err error) {
		addrs, err = h.nlink.AddrList(nil, netlink.FAMILY_ALL)
		return err
	})
	for _, a := range addrs {
		if addressOf(a).InUse() && use[a.LinkIndex] == "" {
			use[a.LinkIndex] = fmt.Sprintf("with the address %s", a.IPNet)
		}
	}
	return wrap("listing", "addresses", err)
}
