package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// parse reads one RTM_NEWLINK or RTM_DELLINK message.
func parse(msg []byte) (Link, error) {
	ifi, err := ifinfo(msg)
	if err != nil {
		return Link{}, err
	}
	l := Link{
		Index:     int(ifi.Index),
		Type:      typeName(ifi.Type),
		Up:        ifi.Flags&unix.IFF_UP != 0,
		Promisc:   ifi.Flags&unix.IFF_PROMISC != 0,
		AllMulti:  ifi.Flags&unix.IFF_ALLMULTI != 0,
		NoARP:     ifi.Flags&unix.IFF_NOARP != 0,
		Multicast: ifi.Flags&unix.IFF_MULTICAST != 0,
		Carrier:   ifi.Flags&unix.IFF_LOWER_UP != 0,
	}
	a := attributesOf(msg[unix.SizeofIfInfomsg:])
	for a.next() {
		l.set(a.typ, a.value)
		l.setLimit(a.typ, a.value)
	}
	if a.err != nil {
		return Link{}, fmt.Errorf("attributes of link %d: %w", l.Index, a.err)
	}
	return l, nil
}

// ifinfo reads the header of a message about a link.
func ifinfo(msg []byte) (unix.IfInfomsg, error) {
	if len(msg) < unix.SizeofIfInfomsg {
		return unix.IfInfomsg{}, fmt.Errorf("message of %d bytes is too short for a link", len(msg))
	}
	return unix.IfInfomsg{Family: msg[0], Type: native.Uint16(msg[2:]), Index: int32(native.Uint32(msg[4:])),
		Flags: native.Uint32(msg[8:]), Change: native.Uint32(msg[12:])}, nil
}

func (l *Link) set(typ int, value []byte) {
	switch typ {
	case unix.IFLA_IFNAME:
		l.Name = cString(value)
	case unix.IFLA_IFALIAS:
		l.Alias = cString(value)
	case unix.IFLA_ADDRESS:
		l.MAC = macText(value)
	case unix.IFLA_MTU:
		l.MTU = int(number(value))
	case unix.IFLA_MAX_MTU:
		l.MaxMTU = int(number(value))
	case unix.IFLA_LINK:
		l.Parent = int(number(value))
	case unix.IFLA_MASTER:
		l.Master = int(number(value))
	case unix.IFLA_GROUP:
		l.Group = number(value)
	case unix.IFLA_OPERSTATE:
		l.OperState = operState(value)
	case unix.IFLA_PARENT_DEV_NAME:
		l.ParentDev = cString(value)
	case unix.IFLA_PROP_LIST:
		l.AltNames = altNames(value)
	case unix.IFLA_LINKINFO:
		l.setInfo(value)
	case unix.IFLA_XDP:
		l.XDP = len(xdpModes(value)) > 0
	}
}

func (l *Link) setLimit(typ int, value []byte) {
	switch typ {
	case unix.IFLA_TXQLEN:
		l.TxQLen = int(number(value))
	case unix.IFLA_GSO_MAX_SIZE:
		l.GSOMaxSize = int(number(value))
	case unix.IFLA_GSO_MAX_SEGS:
		l.GSOMaxSegs = int(number(value))
	case unix.IFLA_GRO_MAX_SIZE:
		l.GROMaxSize = int(number(value))
	case unix.IFLA_GSO_IPV4_MAX_SIZE:
		l.GSOIPv4MaxSize = int(number(value))
	case unix.IFLA_GRO_IPV4_MAX_SIZE:
		l.GROIPv4MaxSize = int(number(value))
	}
}

func (l *Link) setInfo(value []byte) {
	for a := attributesOf(value); a.next(); {
		switch a.typ {
		case unix.IFLA_INFO_KIND:
			l.Kind = cString(a.value)
		case unix.IFLA_INFO_DATA: // follows the kind
			l.setData(a.value)
		case unix.IFLA_INFO_SLAVE_DATA:
			l.setPort(a.value)
		}
	}
}

func (l *Link) setData(value []byte) {
	for a := attributesOf(value); a.next(); {
		switch {
		case l.Kind == "macvlan" && a.typ == nl.IFLA_MACVLAN_MODE:
			l.Mode = macvlanModes.name(number(a.value))
		case l.Kind == "ipvlan" && a.typ == nl.IFLA_IPVLAN_MODE:
			l.Mode = ipvlanModes.name(number(a.value))
		case l.Kind == "vlan" && a.typ == nl.IFLA_VLAN_ID:
			l.VLAN = int(number(a.value))
		}
	}
}

func altNames(value []byte) []string {
	var names []string
	for a := attributesOf(value); a.next(); {
		if a.typ == unix.IFLA_ALT_IFNAME {
			names = append(names, cString(a.value))
		}
	}
	return names
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

// names maps the kernel's numbers to the words that users write.
type names map[uint32]string

func (n names) name(v uint32) string { return n[v] }

func (n names) number(word string) (uint32, bool) {
	for v, w := range n {
		if w == word {
			return v, true
		}
	}
	return 0, false
}
