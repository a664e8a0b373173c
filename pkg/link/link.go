package link

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a network device as the kernel shows it now, without VF data.
type Link struct {
	Index     int
	Name      string
	AltNames  []string
	Alias     string // free text by anybody: it may contain any bytes
	Type      string // "ether", "infiniband", "loopback", else the ARPHRD number
	Kind      string // "macvlan", "vlan", "veth" …; empty for hardware
	MAC       string // lower case; may be empty
	MTU       int    // bytes
	MaxMTU    int    // 0: not reported
	Up        bool   // administratively
	Promisc   bool   // requested by a user; the kernel does not report its own use of this mode
	AllMulti  bool   // as Promisc
	NoARP     bool
	Multicast bool
	Carrier   bool
	OperState string // "up", "down", "lowerlayerdown" …
	Group     uint32
	Parent    int    // ifindex of the link below (IFLA_LINK), which may be in another namespace; 0: no such link
	Master    int    // ifindex of its bridge or bond; 0: it is not a port
	ParentDev string // bus address of the device: a PCI address, "virtio3" for virtio; empty before kernel 5.14
	Mode      string // of a macvlan or ipvlan
	VLAN      int    // id of a vlan link
	TxQLen    int    // packets
	Hairpin   bool   // as the port of a bridge, it sends frames back to where they came from
	Isolated  bool   // as the port of a bridge, it is kept apart from other isolated ports
	XDP       bool   // an XDP program is attached, in any mode

	// Limits of segmentation offload, in bytes and segments. 0: the kernel does not
	// report it. GROMaxSize is new with kernel 5.19, the IPv4 variants with 6.3.
	GSOMaxSize, GSOMaxSegs, GROMaxSize, GSOIPv4MaxSize, GROIPv4MaxSize int
}

// lookups finds links.
type lookups struct{ conn *conn }

// ByName finds a link by name or by altname.
func (l lookups) ByName(name string) (Link, error) {
	attr := text(unix.IFLA_IFNAME, name) // also finds altnames that are short enough
	if len(name) >= unix.IFNAMSIZ {
		attr = text(unix.IFLA_ALT_IFNAME, name)
	}
	return getLink(l.conn, 0, fmt.Sprintf("link %q", name), attr)
}

// ByIndex finds a link by its ifindex.
func (l lookups) ByIndex(index int) (Link, error) { return getLink(l.conn, index, linkNumber(index)) }

func getLink(c *conn, index int, object string, attrs ...nl.NetlinkRequestData) (Link, error) {
	var found Link
	err := queryLink(c, index, 0, func(payload []byte) (err error) {
		found, err = parse(payload)
		return err
	}, attrs...)
	return found, wrap("look up", object, err)
}

// skipStats is RTEXT_FILTER_SKIP_STATS, which the library does not name. Each request for
// links has it, for two reasons. Statistics are the largest part of a PF's VF data, and
// drivers ask their hardware for them. And if a request has a mask, the kernel makes a
// dump's messages as large as the largest link needs. Without a mask, a dump ends at a
// link with some 240 altnames.
const skipStats = 1 << 3

// queryLink asks about one link. The mask (RTEXT_FILTER_…) selects optional parts of the
// answer.
func queryLink(c *conn, index int, mask uint32, each func(payload []byte) error, attrs ...nl.NetlinkRequestData) error {
	attrs = append(attrs, u32(unix.IFLA_EXT_MASK, mask|skipStats))
	return c.exchange(linkRequest(unix.RTM_GETLINK, 0, index, attrs...), func(typ uint16, payload []byte) error {
		if typ != unix.RTM_NEWLINK {
			return unix.ENODEV
		}
		return each(payload)
	})
}
