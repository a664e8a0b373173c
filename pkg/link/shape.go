package link

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Shaping limits the rate of packets by queueing disciplines.
type Shaping struct{ inside func(func() error) error }

// Limit is a token bucket.
type Limit struct {
	Rate  uint64 // bytes a second
	Burst uint32 // bytes
}

// latencyUsec is how long a packet may wait for tokens, as in the stock CNI plugin.
const latencyUsec = 25000

// tbf is the discipline of a limit. The kernel measures the bucket in time.
func (l Limit) tbf(index int) *netlink.Tbf {
	fill := uint32(float64(l.Burst) * netlink.TIME_UNITS_PER_SEC / float64(l.Rate))
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       l.Rate,
		Buffer:     uint32(float64(fill) * netlink.TickInUsec()),
		Limit:      uint32(float64(l.Rate)*latencyUsec/netlink.TIME_UNITS_PER_SEC) + l.Burst,
	}
}

func ingress(index int) *netlink.Ingress {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}}
}

// SetLimit limits the packets that leave by a link.
func (s Shaping) SetLimit(index int, l Limit) error {
	return wrap("limit the rate of", linkNumber(index), s.inside(func() error { return netlink.QdiscAdd(l.tbf(index)) }))
}

// HasLimit reports whether the packets that leave by a link have this limit.
func (s Shaping) HasLimit(index int, l Limit) (has bool, err error) {
	want := l.tbf(index)
	err = s.inside(func() error {
		all, err := netlink.QdiscList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
		for _, q := range all {
			tbf, ok := q.(*netlink.Tbf)
			has = has || ok && tbf.Rate == want.Rate && tbf.Limit == want.Limit && tbf.Buffer == want.Buffer
		}
		return err
	})
	return has, wrap("read the queueing disciplines of", linkNumber(index), err)
}

// Redirect sends the packets that arrive at a link out by another one, from which they
// come back.
func (s Shaping) Redirect(index, to int) error {
	err := s.inside(func() error {
		at := ingress(index)
		if err := netlink.QdiscAdd(at); err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.U32{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: at.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
			ClassId:     netlink.MakeHandle(1, 1), RedirIndex: to,
			Actions: []netlink.Action{&netlink.MirredAction{MirredAction: netlink.TCA_EGRESS_REDIR, Ifindex: to}},
		})
	})
	return wrap(fmt.Sprintf("redirect to link %d the packets of", to), linkNumber(index), err)
}

// ClearShaping removes the limit of a link and its redirection. Neither has to exist.
func (s Shaping) ClearShaping(index int) error {
	err := s.inside(func() error {
		all, err := netlink.QdiscList(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}})
		for _, q := range all {
			if kind := q.Type(); err == nil && (kind == "tbf" || kind == "ingress") {
				err = netlink.QdiscDel(q)
			}
		}
		return err
	})
	return wrap("remove the queueing disciplines of", linkNumber(index), err)
}

// AddIFB makes a link in the handle's namespace that gives back all packets that leave by it.
func (b Bridges) AddIFB(s Spec, target Target) (Link, error) {
	return newLink{b.conn, "ifb", s, nil, target}.add()
}
