package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/cni/run"
	"fairlead.dev/fairlead/cni/wire"
)

// errHungUp means that the runtime has given the call up, and with it the shim.
var errHungUp = errors.New("the runtime gave the call up")

// killWait bounds the wait for a cancelled plugin's end. The shim kills it at once.
const killWait = 3 * time.Second

// conversation is the agent's end of one connection after the request. It is an
// invoke.Exec whose plugins the shim runs.
type conversation struct {
	version.PluginDecoder
	conn    *wire.Conn
	version int
	gone    chan struct{} // closed when the shim has hung up

	mu      sync.Mutex // guards what follows
	next    int
	pending map[int]chan wire.Ran
}

func newConversation(conn *wire.Conn, version int) *conversation {
	return &conversation{conn: conn, version: version, gone: make(chan struct{}), pending: map[int]chan wire.Ran{}}
}

// receive passes each answer to its waiter, until the shim hangs up.
func (c *conversation) receive() {
	defer close(c.gone)
	for {
		m, err := c.conn.Receive()
		if err != nil || m.Ran == nil {
			return
		}
		c.mu.Lock()
		answer, ok := c.pending[m.Ran.ID]
		delete(c.pending, m.Ran.ID)
		c.mu.Unlock()
		if ok {
			answer <- *m.Ran // has room for one
		}
	}
}

// FindInPath leaves the search to the shim: the directories are the host's.
func (c *conversation) FindInPath(plugin string, _ []string) (string, error) {
	if plugin == "" || strings.ContainsAny(plugin, "/\x00") || wire.IsMeta(plugin) {
		return "", fmt.Errorf("%q is not the name of a plugin", plugin)
	}
	return plugin, nil
}

// ExecPlugin has the shim run a plugin and waits for its end.
func (c *conversation) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r := wire.Run{Plugin: plugin, Env: cniEnv(environ), Stdin: stdin}
	r.Path = envValue(environ, "CNI_PATH")
	if deadline, ok := ctx.Deadline(); ok {
		r.TimeoutMillis = max(time.Until(deadline).Milliseconds(), 1)
	}
	answer := make(chan wire.Ran, 1)
	c.mu.Lock()
	c.next++
	r.ID = c.next
	c.pending[r.ID] = answer
	c.mu.Unlock()
	if err := c.conn.Send(wire.Message{Version: c.version, Run: &r}); err != nil {
		return nil, fmt.Errorf("run plugin %s: %w: %w", plugin, errHungUp, err)
	}
	return c.await(ctx, plugin, r.ID, answer)
}

func (c *conversation) await(ctx context.Context, plugin string, id int, answer chan wire.Ran) ([]byte, error) {
	select {
	case ran := <-answer:
		return pluginOutput(plugin, ran)
	case <-c.gone:
		return nil, fmt.Errorf("run plugin %s: %w", plugin, errHungUp)
	case <-ctx.Done():
	}
	// Not to be undone while it still works: wait for its end.
	_ = c.conn.Send(wire.Message{Version: c.version, Cancel: &wire.Cancel{ID: id}})
	select {
	case <-answer:
	case <-c.gone:
	case <-time.After(killWait):
	}
	return nil, fmt.Errorf("plugin %s was killed: %w", plugin, context.Cause(ctx))
}

// alive reports whether the shim is still there.
func (c *conversation) alive() bool {
	select {
	case <-c.gone:
		return false
	default:
		return true
	}
}

// pluginOutput turns a run into what libcni's own executor returns: the output,
// or the plugin's CNI error.
func pluginOutput(plugin string, ran wire.Ran) ([]byte, error) {
	if ran.NotFound {
		return nil, &notFoundError{ran.Error}
	}
	if ran.Error != "" {
		return nil, errors.New(ran.Error)
	}
	if ran.ExitCode == 0 {
		return ran.Stdout, nil
	}
	var e types.Error
	if json.Unmarshal(ran.Stdout, &e) == nil && (e.Msg != "" || e.Code != 0) {
		e.Msg = fmt.Sprintf("plugin %s: %s", plugin, e.Msg)
		return nil, &e
	}
	said := strings.TrimSpace(string(ran.Stderr) + "\n" + string(ran.Stdout))
	if said == "" {
		said = "it said nothing"
	}
	return nil, &types.Error{Msg: fmt.Sprintf("plugin %s failed with exit code %d: %s", plugin, ran.ExitCode, said)}
}

// notFoundError is run.ErrNotFound that has come over the wire.
type notFoundError struct{ text string }

func (e *notFoundError) Error() string { return e.text }
func (e *notFoundError) Is(target error) bool {
	return target == run.ErrNotFound || target == fs.ErrNotExist
}

// cniEnv keeps the CNI variables: the rest of a plugin's environment is the
// host's, not the agent's.
func cniEnv(environ []string) []string {
	var env []string
	for _, v := range environ {
		if strings.HasPrefix(v, "CNI_") {
			env = append(env, v)
		}
	}
	return env
}

func envValue(environ []string, key string) string {
	for _, v := range environ {
		if value, ok := strings.CutPrefix(v, key+"="); ok {
			return value
		}
	}
	return ""
}

// eitherExec runs plugins through the shim while it is there, and through host
// afterwards: a roll back must work when the runtime has given up.
type eitherExec struct {
	*conversation
	host invoke.Exec
}

func (e eitherExec) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) ([]byte, error) {
	if e.alive() {
		return e.conversation.ExecPlugin(ctx, plugin, stdin, environ)
	}
	return execByName(ctx, e.host, plugin, stdin, environ)
}

// execByName runs a plugin by a host executor, which wants it found first.
func execByName(ctx context.Context, host invoke.Exec, plugin string, stdin []byte, environ []string) ([]byte, error) {
	file, err := host.FindInPath(plugin, strings.Split(envValue(environ, "CNI_PATH"), ":"))
	if err != nil {
		return nil, err
	}
	return host.ExecPlugin(ctx, file, stdin, environ)
}

var _ invoke.Exec = eitherExec{}
