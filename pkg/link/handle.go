package link

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/netns"
)

// Handle speaks to the kernel about one network namespace. It is safe for use by
// several goroutines, but has one socket: calls wait for each other. Callers that
// must not wait, such as for a delete of 20 ms, open a handle of their own.
type Handle struct {
	ns   *netns.NS
	conn *conn
}

// A Target is another namespace that a link is moved to or born in. *Handle is one.
type Target interface {
	FD() int // the namespace's file descriptor
	ByName(name string) (Link, error)
	Rename(index int, name string) error
	Delete(index int) error
}

// Open returns a handle on the caller's namespace.
func Open() (*Handle, error) {
	ns, err := netns.Current()
	if err != nil {
		return nil, err
	}
	return open(ns)
}

// OpenAt returns a handle on the namespace at nsPath. The caller's thread does not
// enter it. netns.IsGone reports whether the error means that the namespace is gone.
func OpenAt(nsPath string) (*Handle, error) {
	ns, err := netns.Open(nsPath)
	if err != nil {
		return nil, err
	}
	return open(ns)
}

// open takes ns over: the handle closes it.
func open(ns *netns.NS) (*Handle, error) {
	h := &Handle{ns: ns}
	err := ns.Do(func() (err error) {
		h.conn, err = dial()
		return err
	})
	if err != nil {
		h.Close()
		return nil, wrap("opening netlink", "namespace", err)
	}
	return h, nil
}

// Close releases the socket and the namespace.
func (h *Handle) Close() {
	if h.conn != nil {
		h.conn.close()
	}
	h.ns.Close()
}

// FD is the file descriptor of the handle's namespace, valid until Close.
func (h *Handle) FD() int { return h.ns.FD() }

// Do runs fn on a thread inside the handle's namespace; see netns.NS.Do.
func (h *Handle) Do(fn func() error) error { return h.ns.Do(fn) }

// about builds one rtnetlink message about a link.
func about(message, flags int, index int, attrs ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	ifi := nl.NewIfInfomsg(unix.AF_UNSPEC)
	ifi.Index = int32(index)
	return request(message, flags, ifi, attrs...)
}

// request builds one rtnetlink message. Flags has NLM_F_ACK or NLM_F_DUMP, or the
// answer is a single message.
func request(message, flags int, header nl.NetlinkRequestData, attrs ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(message, flags)
	req.Data = append([]nl.NetlinkRequestData{header}, attrs...)
	return req
}

// change sends a message about a link that is only acknowledged.
func (h *Handle) change(message, flags int, index int, attrs ...nl.NetlinkRequestData) error {
	return h.acknowledged(about(message, flags|unix.NLM_F_ACK, index, attrs...))
}

func (h *Handle) acknowledged(req *nl.NetlinkRequest) error { return h.conn.exchange(req, nil) }

// dumpTries bounds how often a listing is begun again because something changed
// while the kernel wrote it.
const dumpTries = 5

// dump lists what req asks for, and begins again if a change interrupted it. It
// calls begin before each attempt, and each for every message of the given type.
func (h *Handle) dump(req *nl.NetlinkRequest, typ uint16, begin func(), each func(payload []byte) error) error {
	err := errInterrupted
	for try := 0; try < dumpTries && errors.Is(err, errInterrupted); try++ {
		begin()
		err = h.conn.exchange(req, func(got uint16, payload []byte) error {
			if got != typ {
				return nil
			}
			return each(payload)
		})
	}
	return err
}
