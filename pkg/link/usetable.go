package link

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// useTable has the facts that decide which links of a namespace are in use. Dumps fill it,
// and the kernel's messages about single changes keep it up to date: both have the same
// form. It decodes only the attributes that it needs.
type useTable struct {
	links     map[int]linkRow
	addresses map[int][]addressKey    // by link; those that count, sorted
	defaults  map[int]struct{}        // links that a default route leads over
	sources   map[netip.Addr]struct{} // preferred source addresses of default routes
}

type linkRow struct {
	name   string
	master int
	lower  int // the link below in the same namespace; 0: no such link
	up     bool
}

// addressKey identifies an address of a link: one address can have several peers.
type addressKey struct {
	prefix netip.Prefix
	peer   netip.Addr
}

func (k addressKey) compare(other addressKey) int {
	return cmp.Or(k.prefix.Compare(other.prefix), k.peer.Compare(other.peer))
}

// change lists the parts of a table that a message affects.
type change struct {
	use      bool // the use of some link has changed
	defaults bool // the default routes may have changed, and have to be read again
}

// apply takes a message about a single change. It ignores other messages.
func (t *useTable) apply(typ uint16, payload []byte) (change, error) {
	switch typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		switch {
		case !aboutLink(typ, payload):
			return change{}, nil
		case typ == unix.RTM_DELLINK:
			return t.removeLink(payload)
		}
		return t.setLink(payload)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return t.setAddress(payload, typ == unix.RTM_DELADDR)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		rt, err := rtmsg(payload)
		return change{defaults: err == nil && rt.isDefault()}, err
	}
	return change{}, nil
}

// setLink takes an RTM_NEWLINK message.
func (t *useTable) setLink(payload []byte) (change, error) {
	ifi, err := ifinfo(payload)
	if err != nil {
		return change{}, err
	}
	index := int(ifi.Index)
	was, known := t.links[index]
	row := linkRow{up: ifi.Flags&unix.IFF_UP != 0}
	var kind kindReader
	a := attributesOf(payload[unix.SizeofIfInfomsg:])
	for a.next() {
		switch a.typ {
		case unix.IFLA_IFNAME:
			if row.name = was.name; !sameText(a.value, was.name) {
				row.name = cString(a.value)
			}
		case unix.IFLA_MASTER:
			row.master = int(number(a.value))
		default:
			kind.set(a.typ, a.value)
		}
	}
	if row.lower = kind.lower(); row.lower == index {
		row.lower = 0
	}
	t.links[index] = row
	_, hasDefault := t.defaults[index]
	return change{
		use: !known || row.name != was.name || row.master != was.master || row.lower != was.lower,
		// The kernel sends no message about IPv4 routes that it drops with a link.
		defaults: hasDefault && was.up && !row.up,
	}, a.err
}

// sameText compares an attribute with a string, without an allocation.
func sameText(value []byte, s string) bool {
	return len(value) == len(s)+1 && string(value[:len(s)]) == s && value[len(s)] == 0
}

// removeLink takes an RTM_DELLINK message: the link was deleted, or moved away.
func (t *useTable) removeLink(payload []byte) (change, error) {
	ifi, err := ifinfo(payload)
	if err != nil {
		return change{}, err
	}
	index := int(ifi.Index)
	_, known := t.links[index]
	_, hasDefault := t.defaults[index]
	delete(t.links, index)
	delete(t.addresses, index)
	return change{use: known, defaults: hasDefault}, nil
}

// kindReader finds the link below another.
type kindReader struct {
	link      int    // IFLA_LINK
	elsewhere bool   // link is in another namespace
	kind      string // only the kinds of setKind
	underlay  int    // of a vxlan, which has no IFLA_LINK
}

func (k *kindReader) set(typ int, value []byte) {
	switch typ {
	case unix.IFLA_LINK:
		k.link = int(number(value))
	case unix.IFLA_LINK_NETNSID:
		k.elsewhere = true
	case unix.IFLA_LINKINFO:
		for a := attributesOf(value); a.next(); {
			switch {
			case a.typ == unix.IFLA_INFO_KIND:
				k.setKind(a.value)
			case a.typ == unix.IFLA_INFO_DATA && k.kind == "vxlan":
				k.setVXLAN(a.value)
			}
		}
	}
}

func (k *kindReader) setKind(value []byte) {
	for _, kind := range [...]string{"veth", "netkit", "vxcan", "vxlan"} {
		if sameText(value, kind) {
			k.kind = kind
		}
	}
}

func (k *kindReader) setVXLAN(data []byte) {
	for a := attributesOf(data); a.next(); {
		if a.typ == nl.IFLA_VXLAN_LINK {
			k.underlay = int(number(a.value))
		}
	}
}

// lower returns the link below a vlan, macvlan, macvtap, ipvlan, ipvtap, macsec, ipoib, xfrm
// or tunnel. The IFLA_LINK of a veth, netkit or vxcan is its other end, not a link below.
func (k *kindReader) lower() int {
	switch {
	case k.elsewhere:
		return 0
	case k.kind == "vxlan":
		return k.underlay
	case k.kind != "":
		return 0
	}
	return k.link
}

// setAddress takes an RTM_NEWADDR or RTM_DELADDR message. The kernel announces an address
// again when its lifetime changes: then it may no longer count.
func (t *useTable) setAddress(payload []byte, deleted bool) (change, error) {
	m, err := ifaddr(payload)
	if err != nil || !m.prefix.IsValid() {
		return change{}, err
	}
	index, key := m.index, addressKey{m.prefix, m.peer}
	list := t.addresses[index]
	at, had := slices.BinarySearchFunc(list, key, addressKey.compare)
	if !deleted && m.inUse() {
		if !had {
			t.addresses[index] = slices.Insert(list, at, key)
		}
		return change{use: !had}, nil
	}
	if !had {
		return change{}, nil
	}
	t.addresses[index] = slices.Delete(list, at, at+1)
	if len(list) == 1 {
		delete(t.addresses, index)
	}
	// With the last IPv4 address of a link, the kernel drops the link's routes, without a
	// message. With any IPv4 address, it drops the routes that have it as their source.
	// Only new kernels send a message about these.
	_, hasDefault := t.defaults[index]
	_, isSource := t.sources[key.prefix.Addr()]
	return change{use: true, defaults: hasDefault || isSource}, nil
}

// isDefault reports whether the route counts as a default route. A default route from an
// IPv6 router advertisement does not count: every link that is up gets one, even an idle
// VF, so it does not show that somebody uses the link.
func (r routeHeader) isDefault() bool {
	return r.Dst_len == 0 && r.Protocol != unix.RTPROT_RA && r.Flags&unix.RTM_F_CLONED == 0 && r.addressSize() > 0
}

// addDefault takes an RTM_NEWROUTE message of a dump, of any table.
func (t *useTable) addDefault(payload []byte) error {
	rt, err := rtmsg(payload)
	if err != nil || !rt.isDefault() || !rt.unicast() {
		return err
	}
	a := attributesOf(payload[unix.SizeofRtMsg:])
	for a.next() {
		switch a.typ {
		case unix.RTA_OIF:
			t.defaults[int(number(a.value))] = struct{}{}
		case unix.RTA_PREFSRC:
			if source, ok := netip.AddrFromSlice(a.value); ok {
				t.sources[source] = struct{}{}
			}
		case unix.RTA_MULTIPATH:
			for _, hop := range hops(a.value) {
				t.defaults[hop.Link] = struct{}{}
			}
		}
	}
	return a.err
}
