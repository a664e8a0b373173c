package link

import "fairlead.dev/fairlead/pkg/netns"

// Handle makes calls about one network namespace. It may be used by several goroutines, but
// has only one socket, so calls wait for each other. A caller that must not wait, such as
// 20 ms for another's delete, opens a handle of its own.
type Handle struct {
	ns   *netns.NS
	conn *conn

	IP      IP      // the calls about addresses, routes and rules
	Bridges Bridges // the calls about bridges and veth pairs
	Shaping Shaping // the calls about limits of rates

	// Each part has the calls about one subject. All of them use conn.
	lookups
	changes
	creations
	vfKnobs
	uses
}

// Target is another namespace, to which a link is moved or in which it is made. *Handle is
// one.
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
	return open(ns, func(fn func() error) error { return fn() }) // this thread is inside already
}

// OpenAt returns a handle on the namespace at nsPath. The caller's thread does not
// enter it. netns.IsGone reports whether the error means that the namespace is gone.
func OpenAt(nsPath string) (*Handle, error) {
	ns, err := netns.Open(nsPath)
	if err != nil {
		return nil, err
	}
	return open(ns, ns.Do)
}

// open makes a handle, which closes ns in Close. Inside runs a function in ns.
func open(ns *netns.NS, inside func(func() error) error) (*Handle, error) {
	h := &Handle{ns: ns}
	err := inside(func() (err error) {
		h.conn, err = dial()
		return err
	})
	if err != nil {
		h.Close()
		return nil, wrap("open netlink in", "namespace", err)
	}
	c := h.conn
	h.lookups, h.changes, h.creations, h.vfKnobs = lookups{c}, changes{c}, creations{c}, vfKnobs{c}
	h.IP, h.Bridges, h.uses = IP{c}, Bridges{c}, uses{c}
	h.Shaping = Shaping{h.Do}
	return h, nil
}

// Close releases the socket and the namespace.
func (h *Handle) Close() {
	if h.conn != nil {
		h.conn.close()
	}
	h.ns.Close()
}

// FD returns the file descriptor of the handle's namespace, which is valid until Close.
func (h *Handle) FD() int { return h.ns.FD() }

// Do runs fn on a thread inside the handle's namespace; see netns.NS.Do.
func (h *Handle) Do(fn func() error) error { return h.ns.Do(fn) }
