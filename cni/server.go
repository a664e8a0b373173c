package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/host"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// Options is everything that a server works with.
type Options struct {
	Socket     string
	Keeper     Keeper
	Cluster    Cluster
	Primary    Primary
	HostExec   invoke.Exec // for work without a shim
	Tombstones wire.Tombstones
	CNIPath    string // directories of plugins on the host, if the runtime names none
	Now        func() time.Time
	Log        *slog.Logger
}

const (
	// greetingTimeout bounds the wait for a request on a new connection.
	greetingTimeout = 10 * time.Second
	// replayBudget is how long replaying tombstones may keep the socket closed. The
	// rest is replayed beside the calls.
	replayBudget = 15 * time.Second
	// drainTimeout is how long calls under way may go on when the agent is stopped, and
	// drainUndo how long their roll back may go on then. The rest is on record. The
	// DaemonSet's terminationGracePeriod is 45 s, and after this the agent may have to
	// restore the node's CNI configuration.
	drainTimeout = 20 * time.Second
	drainUndo    = 10 * time.Second
)

// Server serves the CNI socket.
type Server struct {
	o        Options
	log      *slog.Logger
	replayer *replayer
	ready    *readiness
}

// New makes a server.
func New(o Options) *Server {
	return &Server{o: o, log: o.Log, replayer: newReplayer(o), ready: &readiness{}}
}

// Serve replays tombstones, then serves until ctx ends, and then lets calls under way
// come to their end. ready is called when the socket answers.
func (s *Server) Serve(ctx context.Context, ready func()) error {
	var calls sync.WaitGroup
	s.replayer.beforeServing(ctx, &calls)
	listener, err := listen(s.o.Socket)
	if err != nil {
		return err
	}
	// Work outlives ctx by the drain time.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	calls.Go(func() { s.replayer.loop(ctx) }) // ends with ctx
	stopAccepting := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stopAccepting()
	s.log.Info("serving the CNI socket", "socket", s.o.Socket)
	if ready != nil {
		ready()
	}
	err = s.accept(work, listener, &calls)
	drain := time.AfterFunc(drainTimeout, func() { stopWork(errors.New("the agent is stopping")) })
	defer drain.Stop()
	if !ended(drainTimeout+drainUndo, &calls) {
		s.log.Error("calls are still being undone while the agent stops; the next agent goes on with it")
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// ended waits for the group, at most for limit.
func ended(limit time.Duration, group *sync.WaitGroup) bool {
	all := make(chan struct{})
	go func() { // ends with the group, or the process
		group.Wait()
		close(all)
	}()
	select {
	case <-all:
		return true
	case <-time.After(limit):
		return false
	}
}

// listen makes the socket, which takes the place of a predecessor's in one step. Only root
// may connect: who can write here can have any plugin run on the host.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the CNI socket's directory: %w", err)
	}
	listener, err := host.ListenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("serve the CNI socket: %w", err)
	}
	return listener, nil
}

func (s *Server) accept(ctx context.Context, listener net.Listener, calls *sync.WaitGroup) error {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // for want of descriptors, for one: the next may succeed
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

// serve carries a request out and makes the reply.
func (s *Server) serve(ctx context.Context, r wire.Request, exec invoke.Exec, version int) wire.Message {
	began := time.Now()
	c, err := parseCall(r, exec, s.o)
	var result types.Result
	if err == nil {
		result, err = dispatch(ctx, s.o, s.ready, c)
	}
	log := s.log.With("command", r.Command, "sandbox", ledger.ShortID(r.ContainerID), "pod", c.pod.String(), "took", time.Since(began).Round(time.Microsecond))
	if err != nil {
		if p := (*sandbox.PanicError)(nil); errors.As(err, &p) {
			log = log.With("stack", string(p.Stack))
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
		return errorReply(version, c.conf.CNIVersion, cniError(failed("convert the result", types.ErrInternal, err), c.pod, r.ContainerID))
	}
	return wire.Message{Version: version, Reply: &wire.Reply{Stdout: raw}}
}

func dispatch(ctx context.Context, o Options, ready *readiness, c *call) (_ types.Result, err error) {
	defer sandbox.Recovered(&err)
	switch c.Command {
	case "ADD":
		return add(ctx, o, c)
	case "DEL":
		return nil, del(ctx, o, c)
	case "CHECK":
		return nil, check(ctx, o, c)
	case "STATUS":
		return nil, status(ctx, o, c, ready)
	case "GC":
		return nil, gc(ctx, o, c)
	}
	return nil, failed("read the request", types.ErrInvalidEnvironmentVariables, fmt.Errorf("unknown command %q", c.Command))
}
