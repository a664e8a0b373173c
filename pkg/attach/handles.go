package attach

import (
	"errors"
	"fmt"
	"sync"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
)

// Identify returns the record of the network namespace at path. It refuses the host's
// own: nothing is ever attached to that.
func Identify(path string) (ledger.Netns, error) {
	id, err := netns.Identify(path)
	if err != nil {
		return ledger.Netns{}, err
	}
	host, err := id.Host()
	if err != nil {
		return ledger.Netns{}, err
	}
	if host {
		return ledger.Netns{}, hostNetnsError(path)
	}
	return ledger.Netns{Path: path, Device: id.Device, Inode: id.Inode, Boot: id.Boot}, nil
}

// ErrHostNetns means that a path leads to the host's own network namespace.
var ErrHostNetns = errors.New("it is the host's own")

func hostNetnsError(path string) error {
	return fmt.Errorf("the network namespace %q is not a pod's: %w", path, ErrHostNetns)
}

// Handles are handles on the host and on one pod's namespace, shared by the calls for
// one sandbox. Each is opened when it is first needed.
type Handles struct {
	kernel kernel
	ns     ledger.Netns

	mu        sync.Mutex // guards the rest
	host, pod *Links
	podErr    error // why there is no pod
	podTried  bool
}

// Open returns the handles for a sandbox. The caller closes them after the last call
// that uses them.
func (s *Set) Open(ns ledger.Netns) *Handles { return &Handles{kernel: s.kernel, ns: ns} }

// Close closes the handles that were opened. While one on the pod's namespace is
// open, the kernel keeps the namespace and its links.
func (h *Handles) Close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.host != nil {
		h.host.Close()
	}
	if h.pod != nil {
		h.pod.Close()
	}
	h.host, h.pod, h.podErr, h.podTried = nil, nil, nil, false
}

func (h *Handles) onHost() (*Links, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	if h.host == nil {
		h.host, err = h.kernel.Host()
	}
	return h.host, err
}

// inPod returns the pod's handle. A namespace that is gone stays so.
func (h *Handles) inPod() (*Links, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.podTried {
		h.pod, h.podErr = h.kernel.At(h.ns)
		h.podTried = true
	}
	return h.pod, h.podErr
}

// site has the two places of a call: the host, and the pod's namespace while it exists.
type site struct {
	set   *Set
	call  Call
	host  *Links
	pod   *Links // nil: the namespace is gone
	close func()
}

// enter opens the host and the pod's namespace, for a call that needs both.
func (s *Set) enter(c Call) (site, error) {
	at, err := s.visit(c)
	if err != nil || at.pod != nil {
		return at, err
	}
	_, err = at.call.Handles.inPod()
	at.close()
	if netns.IsHidden(err) {
		return at, fmt.Errorf("the pod's network namespace %q is not visible to the agent: mount its directory into the agent's pod, "+
			"with mountPropagation HostToContainer, or give the pod hostPID", c.Netns.Path)
	}
	return at, fmt.Errorf("the pod's network namespace %q is gone", c.Netns.Path)
}

// enterHost opens the host only.
func (s *Set) enterHost(c Call) (site, error) {
	at := site{set: s, call: c, close: func() {}}
	if c.Handles == nil {
		at.call.Handles = s.Open(c.Netns)
		at.close = at.call.Handles.Close
	}
	var err error
	at.host, err = at.call.Handles.onHost()
	return at, err
}

// visit opens the host, and the pod's namespace if it is still the one on record.
func (s *Set) visit(c Call) (site, error) {
	at, err := s.enterHost(c)
	if err != nil {
		return at, err
	}
	at.pod, err = at.call.Handles.inPod()
	if netns.IsGone(err) {
		at.pod, err = nil, nil
	}
	if err != nil {
		at.close()
	}
	return at, err
}

// leave is visit for Del. If the path on record leads to the host's own namespace,
// the pod's is gone: nothing is undone on the host in its place.
func (s *Set) leave(c Call) (site, error) {
	at, err := s.visit(c)
	if errors.Is(err, ErrHostNetns) {
		s.Log.Warn("the network namespace on record is the host's own; taking the pod's for gone", "pod", c.Pod.String(), "netns", c.Netns.Path)
		c.Handles, c.Netns = nil, ledger.Netns{}
		return s.visit(c)
	}
	return at, err
}

// isThere reports whether a program may be given the path of the pod's namespace at
// DEL: it is not another pod's by now, nor the host's.
func (s *Set) isThere(c Call) bool {
	handles := c.Handles
	if handles == nil {
		handles = s.Open(c.Netns)
		defer handles.Close()
	}
	_, err := handles.inPod()
	return !netns.IsReplaced(err) && !errors.Is(err, ErrHostNetns)
}
