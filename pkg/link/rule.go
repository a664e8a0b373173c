package link

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Rule has packets from a source routed by a table.
type Rule struct {
	Src      net.IPNet // the zero value: every source
	Table    int
	Priority int // 0 in AddRule: the kernel's choice, before all rules that it has not made itself
}

func (r Rule) String() string {
	if r.Src.IP == nil {
		return fmt.Sprintf("from all table %d", r.Table)
	}
	return fmt.Sprintf("from %s table %d", &r.Src, r.Table)
}

// AddRule adds a rule for a source. If the same rule exists, the error is ErrExists.
func (t IP) AddRule(r Rule) error {
	req := r.message(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return wrap("add", "rule "+r.String(), t.conn.acknowledged(req))
}

// DeleteRule removes a rule for a source.
func (t IP) DeleteRule(r Rule) error {
	return wrap("delete", "rule "+r.String(), t.conn.acknowledged(r.message(unix.RTM_DELRULE, 0)))
}

// message has a header (struct fib_rule_hdr) of the form of a route's.
func (r Rule) message(typ, flags int) *nl.NetlinkRequest {
	family, src := familyOf(r.Src.IP)
	ones, _ := r.Src.Mask.Size()
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family), Src_len: uint8(ones), Type: nl.FR_ACT_TO_TBL}}
	req := request(typ, flags|unix.NLM_F_ACK, header, nl.NewRtAttr(nl.FRA_SRC, src), u32(nl.FRA_TABLE, uint32(r.Table)))
	if r.Table < 256 {
		header.Table = uint8(r.Table)
	}
	if r.Priority > 0 {
		req.AddData(u32(nl.FRA_PRIORITY, uint32(r.Priority)))
	}
	return req
}

// Rules lists the rules of both families, as far as they lead to a table.
func (t IP) Rules() ([]Rule, error) {
	var rules []Rule
	req := request(unix.RTM_GETRULE, unix.NLM_F_DUMP, &nl.RtMsg{})
	err := t.conn.dump(req, unix.RTM_NEWRULE, func() { rules = nil }, func(payload []byte) error {
		r, leads, err := parseRule(payload)
		if leads {
			rules = append(rules, r)
		}
		return err
	})
	return rules, wrap("list", "rules", err)
}

func parseRule(msg []byte) (r Rule, leads bool, err error) {
	header, err := rtmsg(msg)
	size := header.addressSize()
	if err != nil || size == 0 || header.Type != nl.FR_ACT_TO_TBL {
		return r, false, err
	}
	r.Table = int(header.Table)
	a := attributesOf(msg[unix.SizeofRtMsg:])
	for a.next() {
		switch a.typ {
		case nl.FRA_SRC:
			r.Src = net.IPNet{IP: append(net.IP{}, a.value...), Mask: net.CIDRMask(int(header.Src_len), 8*size)}
		case nl.FRA_TABLE:
			r.Table = int(number(a.value))
		case nl.FRA_PRIORITY:
			r.Priority = int(number(a.value))
		}
	}
	return r, a.err == nil, a.err
}
