package link

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network device as the kernel shows it now, without VF data.
type Link struct {
	Index     int
	Name      string
	AltNames  []string
	Type      string // "ether", "infiniband", "loopback", else the ARPHRD number
	Kind      string // "macvlan", "vlan", "veth" …; empty for hardware
	MAC       string // lower case, empty where the link has none
	MTU       int    // bytes
	MaxMTU    int    // 0: not told
	Up        bool   // administratively
	Promisc   bool   // asked for by somebody; what the kernel needs for itself is not told
	AllMulti  bool   // likewise
	Carrier   bool
	OperState string // "up", "down", "lowerlayerdown" …
	Group     uint32
	Parent    int    // ifindex of the link below (IFLA_LINK), in whatever namespace it lies; 0: none
	Master    int    // ifindex of the bridge or bond it is a port of; 0: none
	ParentDev string // bus address of the device, a PCI address for a NIC; empty before kernel 5.14
	Mode      string // of a macvlan or ipvlan
	VLAN      int    // id of a vlan link
}

// ByName finds a link by name or by altname.
func (h *Handle) ByName(name string) (Link, error) {
	attr := text(unix.IFLA_IFNAME, name) // finds altnames too, as far as they fit
	if len(name) >= unix.IFNAMSIZ {
		attr = text(unix.IFLA_ALT_IFNAME, name)
	}
	return h.get(0, fmt.Sprintf("link %q", name), attr)
}

// ByIndex finds a link by its ifindex.
func (h *Handle) ByIndex(index int) (Link, error) { return h.get(index, indexed(index)) }

func (h *Handle) get(index int, object string, attrs ...nl.NetlinkRequestData) (Link, error) {
	msgs, err := h.request(unix.RTM_GETLINK, 0, index, attrs...).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return Link{}, wrap("look-up", object, err)
	}
	if len(msgs) == 0 {
		return Link{}, wrap("look-up", object, unix.ENODEV)
	}
	l, err := parse(msgs[0])
	return l, wrap("look-up", object, err)
}

// dumpTries bounds how often a listing is begun again because links came or went
// while the kernel wrote it.
const dumpTries = 5

// List returns all links of the namespace.
func (h *Handle) List() ([]Link, error) {
	var msgs [][]byte
	err := error(nl.ErrDumpInterrupted)
	for try := 0; try < dumpTries && errors.Is(err, nl.ErrDumpInterrupted); try++ {
		msgs, err = h.request(unix.RTM_GETLINK, unix.NLM_F_DUMP, 0).Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	}
	if err != nil {
		return nil, wrap("listing", "links", err)
	}
	links := make([]Link, 0, len(msgs))
	for _, m := range msgs {
		l, err := parse(m)
		if err != nil {
			return nil, wrap("listing", "links", err)
		}
		links = append(links, l)
	}
	return links, nil
}

// parse reads one RTM_NEWLINK or RTM_DELLINK message.
func parse(msg []byte) (Link, error) {
	if len(msg) < unix.SizeofIfInfomsg {
		return Link{}, fmt.Errorf("message of %d bytes is too short for a link", len(msg))
	}
	ifi := nl.DeserializeIfInfomsg(msg)
	attrs, err := nl.ParseRouteAttr(msg[ifi.Len():])
	if err != nil {
		return Link{}, fmt.Errorf("attributes of link %d: %w", ifi.Index, err)
	}
	l := Link{
		Index:    int(ifi.Index),
		Type:     typeName(ifi.Type),
		Up:       ifi.Flags&unix.IFF_UP != 0,
		Promisc:  ifi.Flags&unix.IFF_PROMISC != 0,
		AllMulti: ifi.Flags&unix.IFF_ALLMULTI != 0,
		Carrier:  ifi.Flags&unix.IFF_LOWER_UP != 0,
	}
	for _, a := range attrs {
		l.set(a)
	}
	return l, nil
}

func (l *Link) set(a syscall.NetlinkRouteAttr) {
	switch a.Attr.Type & nl.NLA_TYPE_MASK {
	case unix.IFLA_IFNAME:
		l.Name = cString(a.Value)
	case unix.IFLA_ADDRESS:
		l.MAC = macText(a.Value)
	case unix.IFLA_MTU:
		l.MTU = int(number(a.Value))
	case unix.IFLA_MAX_MTU:
		l.MaxMTU = int(number(a.Value))
	case unix.IFLA_LINK:
		l.Parent = int(number(a.Value))
	case unix.IFLA_MASTER:
		l.Master = int(number(a.Value))
	case unix.IFLA_GROUP:
		l.Group = number(a.Value)
	case unix.IFLA_OPERSTATE:
		l.OperState = operState(a.Value)
	case unix.IFLA_PARENT_DEV_NAME:
		l.ParentDev = cString(a.Value)
	case unix.IFLA_PROP_LIST:
		l.AltNames = altNames(a.Value)
	case unix.IFLA_LINKINFO:
		l.setInfo(a.Value)
	}
}

func (l *Link) setInfo(value []byte) {
	infos, err := nl.ParseRouteAttr(value)
	if err != nil {
		return // a kind that says nothing more than what is above
	}
	for _, i := range infos {
		switch i.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.IFLA_INFO_KIND:
			l.Kind = cString(i.Value)
		case unix.IFLA_INFO_DATA: // follows the kind
			l.setData(i.Value)
		}
	}
}

func (l *Link) setData(value []byte) {
	data, err := nl.ParseRouteAttr(value)
	if err != nil {
		return
	}
	for _, d := range data {
		switch kind, attr := l.Kind, int(d.Attr.Type&nl.NLA_TYPE_MASK); {
		case kind == "macvlan" && attr == nl.IFLA_MACVLAN_MODE:
			l.Mode = macvlanModes.name(number(d.Value))
		case kind == "ipvlan" && attr == nl.IFLA_IPVLAN_MODE:
			l.Mode = ipvlanModes.name(number(d.Value))
		case kind == "vlan" && attr == nl.IFLA_VLAN_ID:
			l.VLAN = int(number(d.Value))
		}
	}
}

func altNames(value []byte) []string {
	props, err := nl.ParseRouteAttr(value)
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range props {
		if p.Attr.Type&nl.NLA_TYPE_MASK == unix.IFLA_ALT_IFNAME {
			names = append(names, cString(p.Value))
		}
	}
	return names
}

// number reads an unsigned attribute of 1, 2 or 4 bytes; any other length is 0.
func number(b []byte) uint32 {
	switch len(b) {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(native.Uint16(b))
	case 4:
		return native.Uint32(b)
	}
	return 0
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func macText(b []byte) string { return net.HardwareAddr(b).String() }

func typeName(t uint16) string {
	switch t {
	case unix.ARPHRD_ETHER:
		return "ether"
	case unix.ARPHRD_INFINIBAND:
		return "infiniband"
	case unix.ARPHRD_LOOPBACK:
		return "loopback"
	}
	return fmt.Sprint(t)
}

// operStates are the names of RFC 2863, as sysfs prints them, in the kernel's order.
var operStates = [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}

func operState(b []byte) string {
	if n := number(b); int(n) < len(operStates) {
		return operStates[n]
	}
	return "unknown"
}
