package link

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/netns"
)

// Handle speaks to the kernel about one network namespace. It is safe for use by
// several goroutines, but has one socket: calls wait for each other, so what runs
// side by side should have a handle each (opening one costs some 50 µs).
type Handle struct {
	ns    *netns.NS
	sock  map[int]*nl.SocketHandle
	nlink *netlink.Handle // addresses and routes
}

// A Target is another namespace that a link is moved to or born in. *Handle is one.
type Target interface {
	FD() int // the namespace's file descriptor
	ByName(name string) (Link, error)
	Rename(index int, name string) error
	Delete(index int) error
}

// requestTimeout is far beyond what the kernel needs: rtnetlink answers in the
// same call. It keeps a lost answer from hanging a pod's sandbox for ever.
var requestTimeout = unix.Timeval{Sec: 30}

// Open returns a handle on the caller's namespace.
func Open() (*Handle, error) {
	ns, err := netns.Current()
	if err != nil {
		return nil, err
	}
	return open(ns)
}

// OpenAt returns a handle on the namespace at nsPath. The caller's thread does
// not enter it. netns.IsGone tells whether the namespace is no more.
func OpenAt(nsPath string) (*Handle, error) {
	ns, err := netns.Open(nsPath)
	if err != nil {
		return nil, err
	}
	return open(ns)
}

// open takes ns over: it is the handle's to close.
func open(ns *netns.NS) (*Handle, error) {
	h := &Handle{ns: ns}
	if err := ns.Do(h.openSockets); err != nil {
		h.Close()
		return nil, wrap("open netlink", "namespace", err)
	}
	return h, nil
}

func (h *Handle) openSockets() error {
	// Subscribing to no group is the library's way to open a plain socket here.
	s, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	h.sock = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	if err := s.SetExtAck(true); err != nil { // the kernel's own words on what is wrong
		return err
	}
	if err := errors.Join(s.SetReceiveTimeout(&requestTimeout), s.SetSendTimeout(&requestTimeout)); err != nil {
		return err
	}
	h.nlink, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	return err
}

// Close releases the sockets and the namespace.
func (h *Handle) Close() {
	for _, s := range h.sock {
		s.Close()
	}
	if h.nlink != nil {
		h.nlink.Close()
	}
	h.ns.Close()
}

// FD is the file descriptor of the handle's namespace, valid until Close.
func (h *Handle) FD() int { return h.ns.FD() }

// Do runs fn on a thread inside the handle's namespace; see netns.NS.Do.
func (h *Handle) Do(fn func() error) error { return h.ns.Do(fn) }

// request builds one rtnetlink message about a link.
func (h *Handle) request(message, flags int, index int, attrs ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(message, flags)
	req.Sockets = h.sock
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index = int32(index)
	req.AddData(ifi)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

// change sends a message that is answered by an acknowledgement alone.
func (h *Handle) change(message, flags int, index int, attrs ...nl.NetlinkRequestData) error {
	_, err := h.request(message, flags|unix.NLM_F_ACK, index, attrs...).Execute(unix.NETLINK_ROUTE, 0)
	return err
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

var native = binary.NativeEndian
