package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/cni/run"
	"fairlead.dev/fairlead/cni/wire"
)

// replyGrace is how much longer than its request the shim waits for the reply:
// the agent, which got the deadline too, should be the one to end the work.
const replyGrace = 5 * time.Second

// ask has the conversation with the agent. Its errors are all of the kind "the
// agent did not answer".
func (s Shim) ask(ctx context.Context, r wire.Request) (wire.Reply, error) {
	wait := s.Config.AgentTimeout()
	if r.Command == "DEL" || r.Command == "STATUS" {
		wait = 0 // a DEL has the tombstone; a STATUS is asked again soon, and holds up the runtime's
	}
	file, err := dial(ctx, s.Config.Socket, wait)
	if err != nil {
		return wire.Reply{}, err
	}
	conn := wire.NewConn(file)
	ctx, cancel := context.WithTimeoutCause(ctx, s.Config.Timeout()+replyGrace, errors.New("the agent has not answered in time"))
	defer cancel()
	hangUp := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer hangUp()
	defer conn.Close()

	p := plugins{conn: conn, environ: s.Environ, path: s.Getenv("CNI_PATH"), running: map[int]context.CancelFunc{}}
	defer p.killAll() // nothing that was started for the agent outlives the conversation
	reply, err := s.converse(ctx, conn, r, &p)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case hungUp(err):
		err = errors.New("it hung up before it had answered: it was stopped or has crashed; see its log")
	}
	return wire.Reply{}, fmt.Errorf("the Fairlead agent at %s: %w", s.Config.Socket, err)
}

func hungUp(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, os.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s Shim) converse(ctx context.Context, conn *wire.Conn, r wire.Request, p *plugins) (wire.Reply, error) {
	if err := conn.Send(wire.Message{Version: wire.Version, Request: &r}); err != nil {
		return wire.Reply{}, err
	}
	for {
		m, err := conn.Receive()
		switch {
		case err != nil:
			return wire.Reply{}, err
		case m.Reply != nil:
			return *m.Reply, nil
		case m.Run != nil:
			p.start(ctx, *m.Run, m.Version)
		case m.Cancel != nil:
			p.cancel(m.Cancel.ID)
		default:
			return wire.Reply{}, errors.New("it sent a message that is not for a shim")
		}
	}
}

// plugins are the binaries that run for the agent.
type plugins struct {
	conn    *wire.Conn
	environ []string
	path    string     // CNI_PATH as the runtime gave it: nothing is run from elsewhere
	mu      sync.Mutex // guards running
	running map[int]context.CancelFunc
	done    sync.WaitGroup
}

func (p *plugins) start(ctx context.Context, r wire.Run, version int) {
	ctx, cancel := context.WithCancel(ctx)
	if r.TimeoutMillis > 0 {
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(r.TimeoutMillis)*time.Millisecond,
			fmt.Errorf("it took longer than %v", time.Duration(r.TimeoutMillis)*time.Millisecond))
	}
	p.mu.Lock()
	p.running[r.ID] = cancel
	p.mu.Unlock()
	p.done.Go(func() { // ends with the plugin, which ends with ctx
		ran := p.run(ctx, r)
		p.cancel(r.ID)
		// An agent that is gone is noticed by Receive.
		_ = p.conn.Send(wire.Message{Version: version, Ran: &ran})
	})
}

func (p *plugins) run(ctx context.Context, r wire.Run) wire.Ran {
	// The plugin dies with the thread that started it: a shim that is killed by
	// SIGKILL leaves no plugin behind that works on a sandbox the runtime has given up.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ran := wire.Ran{ID: r.ID}
	path := permitted(r.Path, p.path)
	file, err := run.Find(r.Plugin, path)
	if err != nil {
		ran.NotFound, ran.Error = true, err.Error()
		return ran
	}
	wait, err := run.Start(ctx, run.Command{File: file, Env: environment(p.environ, r.Env, path), Stdin: r.Stdin, DieWithParent: true})
	if err != nil {
		ran.Error = err.Error()
		return ran
	}
	out, err := wait()
	ran.Stdout, ran.Stderr, ran.ExitCode = out.Stdout, out.Stderr, out.ExitCode
	if err != nil {
		ran.Error = err.Error()
	}
	return ran
}

// permitted returns the directories of a requested path that are also in the
// runtime's CNI_PATH. The agent may ask for fewer: those of the ADD. Relative ones are
// left out: they depend on a working directory.
func permitted(requested, own string) string {
	var dirs []string
	allowed := filepath.SplitList(own)
	for i, dir := range allowed {
		allowed[i] = filepath.Clean(dir)
	}
	for _, dir := range filepath.SplitList(requested) {
		if dir = filepath.Clean(dir); filepath.IsAbs(dir) && slices.Contains(allowed, dir) {
			dirs = append(dirs, dir)
		}
	}
	return strings.Join(dirs, string(filepath.ListSeparator))
}

// environment is the shim's own, which the runtime made, with the CNI variables
// that the agent gives. A plugin looks for its IPAM plugin in CNI_PATH, so that holds
// permitted directories only.
func environment(own, given []string, path string) []string {
	env := slices.DeleteFunc(slices.Clone(own), isCNI)
	for _, v := range given {
		if isCNI(v) && !strings.HasPrefix(v, "CNI_PATH=") {
			env = append(env, v)
		}
	}
	return append(env, "CNI_PATH="+path)
}

func isCNI(variable string) bool { return strings.HasPrefix(variable, "CNI_") }

func (p *plugins) cancel(id int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel, ok := p.running[id]; ok {
		cancel()
		delete(p.running, id)
	}
}

func (p *plugins) killAll() {
	p.mu.Lock()
	for _, cancel := range p.running {
		cancel()
	}
	p.mu.Unlock()
	p.done.Wait()
}
