package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/pci"
)

// Options is everything a server works with.
type Options struct {
	Socket     string
	Ledger     Ledger
	Cluster    Cluster
	Devices    Devices
	Attachers  Attachers
	Primary    *Primary
	HostExec   invoke.Exec // for work without a shim
	Tombstones wire.Tombstones
	DevInfoDir string
	CNIPath    string // directories of plugins on the host, for work without a shim

	NamespaceIsolation bool
	GlobalNamespaces   []string // usable by all pods under namespace isolation
	// DefaultNetworkNamespace is where a network that replaces the primary is looked
	// up if the pod names no namespace; empty: in the pod's own.
	DefaultNetworkNamespace string

	// Uplinks gives the host netdevs that a fallback of a network backed by the
	// resource may use, best first.
	Uplinks func(resource string) []string
	Now     func() time.Time
	Log     *slog.Logger
}

const (
	// greetingTimeout bounds the wait for a request on a new connection.
	greetingTimeout = 10 * time.Second
	// statusBudget is how long an ADD may wait for the network-status patch before
	// it goes on in the background.
	statusBudget = 500 * time.Millisecond
	// undoTimeout bounds the undoing of a failed ADD, which goes on when the runtime
	// has given up, and each retry of a release; what is left then is retried.
	undoTimeout = 60 * time.Second
	// replayTimeout is how long the replay of tombstones may keep the socket closed.
	// The rest is worked off beside the calls.
	replayTimeout = 15 * time.Second
	// drainTimeout is how long calls under way may go on when the agent is stopped,
	// and drainUndo how long their undoing may go on then. What is left is on record.
	// The DaemonSet's terminationGracePeriod is 45 s, and after this the agent may have
	// to restore the node's CNI configuration.
	drainTimeout = 20 * time.Second
	drainUndo    = 10 * time.Second
)

// Server serves the CNI socket.
type Server struct {
	o         Options
	log       *slog.Logger
	locks     *locks
	devinfo   deviceInfo
	back      handedBack
	missing   missing
	replaying sync.Mutex // held by the replay of tombstones
	done      released
	wake      chan struct{} // wakes the background loop: something is to be retried
	started   time.Time
	after     sync.WaitGroup // what a call leaves to do behind its reply: single writes to the ledger

	// The kernel's part, replaced in tests.
	netnsGone   func(path string) bool
	lastIfindex func(netns string) int
	setRoutes   func(netns, ifName string, gateways []netip.Addr) error
}

// New makes a server.
func New(o Options) *Server {
	return &Server{
		o: o, log: o.Log, locks: newLocks(), devinfo: deviceInfo{dir: o.DevInfoDir}, wake: make(chan struct{}, 1),
		started:   o.Now(),
		back:      handedBack{at: map[pci.Address]time.Time{}},
		netnsGone: netnsGone, lastIfindex: lastIfindex, setRoutes: moveDefaultRoute,
	}
}

// netnsGone reports that there is certainly no such namespace. A path that cannot
// be looked at is not gone.
func netnsGone(path string) bool {
	ns, err := netns.Open(path)
	if err != nil {
		return netns.IsGone(err)
	}
	_ = ns.Close()
	return false
}

// Serve works tombstones off, then serves until ctx ends, and then lets calls
// under way come to their end. ready is called when the socket answers.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	var calls sync.WaitGroup
	s.replayBeforeServing(ctx, &calls)
	listener, err := listen(s.o.Socket)
	if err != nil {
		return err
	}
	// Work outlives ctx by the drain time.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	calls.Go(func() { s.background(ctx) }) // ends with ctx
	stopAccepting := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stopAccepting()
	s.log.Info("serving the CNI socket", "socket", s.o.Socket)
	if ready != nil {
		ready()
	}
	err = s.accept(work, listener, &calls)
	drain := time.AfterFunc(drainTimeout, func() { stopWork(errors.New("the agent is stopping")) })
	defer drain.Stop()
	if !ended(drainTimeout+drainUndo, &calls, &s.after) {
		s.log.Error("calls are still being undone while the agent stops; the next agent goes on with it")
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ended waits for groups, at most so long.
func ended(limit time.Duration, groups ...*sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() { // ends with the groups, or the process
		for _, g := range groups {
			g.Wait()
		}
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

// listen makes the socket under a temporary name and renames it, so that it takes
// the place of a predecessor's in one step and nobody removes a successor's.
func listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the CNI socket's directory: %w", err)
	}
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listening on the CNI socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening on the CNI socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	// Root alone: who can write here can have any plugin run on the host.
	if err := errors.Join(os.Chmod(temporary, 0o600), os.Rename(temporary, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("listening on the CNI socket: %w", err), listener.Close())
	}
	return listener, nil
}

func (s *Server) accept(ctx context.Context, listener net.Listener, calls *sync.WaitGroup) error {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // out of descriptors, say: the next may succeed
			s.log.Error("accepting a connection on the CNI socket", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		calls.Go(func() { s.converse(ctx, conn) }) // ends with the call
	}
}

// converse serves one connection: one request, one reply.
func (s *Server) converse(ctx context.Context, nc net.Conn) {
	conn := wire.NewConn(nc)
	defer conn.Close()
	_ = nc.SetReadDeadline(time.Now().Add(greetingTimeout))
	m, err := conn.Receive()
	if err != nil || m.Request == nil {
		s.log.Warn("a connection on the CNI socket brought no request", "error", err)
		return
	}
	_ = nc.SetReadDeadline(time.Time{})
	version, err := wire.Negotiate(m)
	r := *m.Request
	if err != nil && r.Command != "DEL" {
		// m#1213: the text says how to put it right. A DEL goes on: it needs but the
		// oldest fields, and no plugin of it has to be run by a shim that is not understood.
		_ = conn.Send(errorReply(wire.Version, "", cniError(err, podOf(r.Args), r.ContainerID)))
		return
	}
	talk := newConversation(conn, version)
	ctx, cancel := callContext(ctx, r)
	defer cancel(nil)
	go func() { // ends when the connection is closed
		talk.receive()
		cancel(errHungUp)
	}()
	exec := invoke.Exec(eitherExec{conversation: talk, host: s.o.HostExec})
	if err != nil {
		exec = s.o.HostExec
	}
	if sendErr := conn.Send(s.serve(ctx, r, exec, max(version, wire.MinVersion))); sendErr != nil {
		s.log.Warn("the runtime was gone before the reply", "command", r.Command, "sandbox", r.ContainerID, "error", sendErr)
	}
}

// callContext ends with the request's time-out.
func callContext(ctx context.Context, r wire.Request) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	if r.TimeoutMillis <= 0 {
		return ctx, cancel
	}
	span := time.Duration(r.TimeoutMillis) * time.Millisecond
	ctx, stop := context.WithTimeoutCause(ctx, span, fmt.Errorf("it took longer than %v: %w", span, context.DeadlineExceeded))
	return ctx, func(cause error) { cancel(cause); stop() }
}

// serve does what a request asks, and makes the reply.
func (s *Server) serve(ctx context.Context, r wire.Request, exec invoke.Exec, version int) wire.Message {
	began := time.Now()
	c, err := parseCall(r, exec, s.o.Now())
	var result types.Result
	if err == nil {
		result, err = s.dispatch(ctx, c)
	}
	log := s.log.With("command", r.Command, "sandbox", shortID(r.ContainerID), "pod", c.pod.String(), "took", time.Since(began).Round(time.Microsecond))
	if err != nil {
		if p := (*panicError)(nil); errors.As(err, &p) {
			log = log.With("stack", string(p.stack))
		}
		log.Error("CNI call failed", "error", err)
		return errorReply(version, c.conf.CNIVersion, cniError(err, c.pod, r.ContainerID))
	}
	log.Info("CNI call done")
	if result == nil {
		return wire.Message{Version: version, Reply: &wire.Reply{}}
	}
	raw, err := resultJSON(result, c.conf.CNIVersion)
	if err != nil {
		return errorReply(version, c.conf.CNIVersion, cniError(step("converting the result", types.ErrInternal, err), c.pod, r.ContainerID))
	}
	return wire.Message{Version: version, Reply: &wire.Reply{Stdout: raw}}
}

func (s *Server) dispatch(ctx context.Context, c *call) (_ types.Result, err error) {
	defer caught(&err)
	switch c.Command {
	case "ADD":
		return s.add(ctx, c)
	case "DEL":
		return nil, s.del(ctx, c)
	case "CHECK":
		return nil, s.check(ctx, c)
	case "STATUS":
		return nil, s.status(ctx, c)
	case "GC":
		return nil, s.gc(ctx, c)
	}
	return nil, step("reading the request", types.ErrInvalidEnvironmentVariables, fmt.Errorf("unknown command %q", c.Command))
}

// cniPath is where plugins are looked for: where the runtime says, or, without a
// runtime, the configured directories.
func (s *Server) cniPath(c *call) string {
	if c != nil && strings.TrimSpace(c.Path) != "" {
		return c.Path
	}
	return s.o.CNIPath
}

// delegate looks for plugins where they were when they made the sandbox, and then in
// path: one that is not found is taken for one that never ran (see neverRan).
func (s *Server) delegate(sandbox ledger.Sandbox, exec invoke.Exec, path string) delegate {
	if sandbox.Path != "" && sandbox.Path != path {
		path = sandbox.Path + string(filepath.ListSeparator) + path
	}
	return delegate{attachers: s.o.Attachers, exec: exec, path: path, sandbox: sandbox}
}
