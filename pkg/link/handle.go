package link

import "fairlead.dev/fairlead/pkg/netns"

// Handle speaks to the kernel about one network namespace. It is safe for use by
// several goroutines, but has one socket: calls wait for each other. Callers that
// must not wait, such as for a delete of 20 ms, open a handle of their own.
type Handle struct {
	ns   *netns.NS
	conn *conn

	// Each part has the calls about one subject. All of them use conn.
	lookups
	changes
	births
	vfKnobs
	addresses
	routes
	uses
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

// open takes ns over: the handle closes it. Inside runs a function in ns.
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
	h.lookups, h.changes, h.births, h.vfKnobs = lookups{c}, changes{c}, births{c}, vfKnobs{c}
	h.addresses, h.routes, h.uses = addresses{c}, routes{c}, uses{c}
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
