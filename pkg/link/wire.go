package link

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// messages walks through the messages of one datagram, without copying.
type messages struct {
	rest    []byte
	header  unix.NlMsghdr
	payload []byte
}

func messagesOf(datagram []byte) *messages { return &messages{rest: datagram} }

func (m *messages) next() bool {
	if len(m.rest) < unix.SizeofNlMsghdr {
		return false
	}
	m.header = unix.NlMsghdr{
		Len: native.Uint32(m.rest), Type: native.Uint16(m.rest[4:]), Flags: native.Uint16(m.rest[6:]),
		Seq: native.Uint32(m.rest[8:]), Pid: native.Uint32(m.rest[12:]),
	}
	size := int(m.header.Len)
	if size < unix.SizeofNlMsghdr || size > len(m.rest) {
		return false
	}
	m.payload = m.rest[unix.SizeofNlMsghdr:size]
	m.rest = m.rest[min(aligned(size), len(m.rest)):]
	return true
}

// attributes walks through netlink attributes, without copying. At a malformed attribute
// the walk ends, and err is set.
type attributes struct {
	rest  []byte
	typ   int // without the flags of nested attributes and byte order
	value []byte
	err   error
}

const attrHeader = unix.SizeofRtAttr

func attributesOf(b []byte) *attributes { return &attributes{rest: b} }

func (a *attributes) next() bool {
	if len(a.rest) < attrHeader {
		return false
	}
	size := int(native.Uint16(a.rest))
	if size < attrHeader || size > len(a.rest) {
		a.err = fmt.Errorf("attribute of %d bytes, with %d left: %w", size, len(a.rest), unix.EBADMSG)
		return false
	}
	a.typ = int(native.Uint16(a.rest[2:]) & nl.NLA_TYPE_MASK)
	a.value = a.rest[attrHeader:size]
	a.rest = a.rest[min(aligned(size), len(a.rest)):]
	return true
}

// nextType returns the type of the next attribute, or -1 at the end.
func (a *attributes) nextType() int {
	if len(a.rest) < attrHeader {
		return -1
	}
	return int(native.Uint16(a.rest[2:]) & nl.NLA_TYPE_MASK)
}

// aligned rounds up to a multiple of 4, where the next message or attribute begins.
func aligned(size int) int { return (size + 3) &^ 3 }

// number reads an unsigned attribute of 1, 2 or 4 bytes. Any other length gives 0.
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

func u32(attr int, v uint32) nl.NetlinkRequestData { return nl.NewRtAttr(attr, nl.Uint32Attr(v)) }

func text(attr int, s string) nl.NetlinkRequestData { return nl.NewRtAttr(attr, nl.ZeroTerminated(s)) }

func nested(attr int, children ...*nl.RtAttr) *nl.RtAttr {
	parent := nl.NewRtAttr(attr|unix.NLA_F_NESTED, nil)
	for _, c := range children {
		parent.AddChild(c)
	}
	return parent
}
