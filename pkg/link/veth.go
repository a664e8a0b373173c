package link

import (
	"errors"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Bridges makes bridges, and the veth pairs whose ends are their ports.
type Bridges struct{ conn *conn }

// Pair has the settings of a veth pair: one end in the handle's namespace, the other in
// that of a pod.
type Pair struct {
	Name   string // of the end in the handle's namespace
	Bridge int    // ifindex of the bridge whose port that end is; 0: of none
	Far    Spec   // the other end. Parent has no meaning; MTU and Group are those of both ends
}

// AddVeth makes a veth pair by one message, under its final names. The near end is up, and
// a port of its bridge. The far end is inside target's namespace, down.
func (b Bridges) AddVeth(p Pair, target Target) (near, far Link, err error) {
	if err := b.addVeth(p, target); err != nil {
		return near, far, wrap("create", "veth "+p.Far.Name, err)
	}
	if near, err = (lookups(b)).ByName(p.Name); err == nil {
		far, err = target.ByName(p.Far.Name)
	}
	return near, far, err
}

// addVeth makes the near end the link of the message, because only that one gets a master.
func (b Bridges) addVeth(p Pair, target Target) error {
	far := nl.NewRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(far, unix.AF_UNSPEC)
	for _, attr := range p.attributes(p.Far.Name) {
		far.AddChild(attr)
	}
	far.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(target.FD())))
	if p.Far.MAC != "" {
		hw, err := net.ParseMAC(p.Far.MAC)
		if err != nil {
			return err
		}
		far.AddRtAttr(unix.IFLA_ADDRESS, hw)
	}
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Flags, ifi.Change = unix.IFF_UP, unix.IFF_UP
	req := request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, ifi, nested(unix.IFLA_LINKINFO,
		nl.NewRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated("veth")), nested(unix.IFLA_INFO_DATA, far)))
	for _, attr := range p.attributes(p.Name) {
		req.AddData(attr)
	}
	if p.Bridge != 0 {
		req.AddData(u32(unix.IFLA_MASTER, uint32(p.Bridge)))
	}
	return b.conn.acknowledged(req)
}

// attributes are those that both ends have.
func (p Pair) attributes(name string) []*nl.RtAttr {
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name))}
	if p.Far.MTU != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(p.Far.MTU))))
	}
	if p.Far.Group != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(p.Far.Group)))
	}
	return attrs
}

// AddBridge makes a bridge in target's namespace.
func (b Bridges) AddBridge(s Spec, target Target) (Link, error) {
	return newLink{b.conn, "bridge", s, nil, target}.add()
}

// SetPort sets the attributes of a bridge's port: whether it sends frames back to where
// they came from, and whether it is kept apart from other isolated ports.
func (b Bridges) SetPort(index int, hairpin, isolated bool) error {
	ifi := nl.NewIfInfomsg(unix.AF_BRIDGE)
	ifi.Index = int32(index)
	attrs := nested(unix.IFLA_PROTINFO,
		nl.NewRtAttr(nl.IFLA_BRPORT_MODE, []byte{byte(bit(hairpin))}), nl.NewRtAttr(nl.IFLA_BRPORT_ISOLATED, []byte{byte(bit(isolated))}))
	err := b.conn.acknowledged(request(unix.RTM_SETLINK, unix.NLM_F_ACK, ifi, attrs))
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = errors.Join(err, errors.New("the link is no port of a bridge"))
	}
	return wrap("set the port attributes of", linkNumber(index), err)
}

// setPort reads the attributes of a bridge's port.
func (l *Link) setPort(value []byte) {
	for a := attributesOf(value); a.next(); {
		switch a.typ {
		case nl.IFLA_BRPORT_MODE:
			l.Hairpin = number(a.value) != 0
		case nl.IFLA_BRPORT_ISOLATED:
			l.Isolated = number(a.value) != 0
		}
	}
}
