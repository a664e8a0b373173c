package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSocket is where the agent serves its state on every node.
const DefaultSocket = "/run/fairlead/agent.sock"

// maxBody limits the size of a reply: 2,000 VFs with pods take less than 4 MiB.
const maxBody = 64 << 20

// patience is how long a client waits for an agent. The agent gathers the state from memory and
// from its PFs, usually in well under a second.
const patience = 15 * time.Second

// Client asks one agent for its state.
type Client struct {
	socket   string
	http     *http.Client
	patience time.Duration
}

// NewClient returns a client of the agent that listens on the unix socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, patience: patience, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// State asks for the state. If no agent answers, the error says what to do.
func (c *Client) State(ctx context.Context) (State, error) {
	body, err := c.get(ctx, Path)
	if err != nil {
		return State{}, err
	}
	return Decode(body)
}

// Ready returns nil if the agent is serving pods, else an error with the reason.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.get(ctx, ReadyPath)
	return err
}

func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("the agent on %s answers %s: %s", c.socket, response.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no agent socket %s: the agent is not running on this node, or this is not a node; read a saved state with -f FILE instead: %w", c.socket, err)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("no agent listens on %s: it has stopped; see its logs with `kubectl -n fairlead-system logs -l app.kubernetes.io/name=fairlead-agent`: %w", c.socket, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("only root may ask the agent on %s: %w", c.socket, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the agent on %s has not answered within %s: it is stuck, or the node is overloaded; see its logs with `kubectl -n fairlead-system logs -l app.kubernetes.io/name=fairlead-agent`: %w", c.socket, c.patience, err)
	}
	return fmt.Errorf("ask the agent on %s: %w", c.socket, err)
}

// DecodeAll parses one State or several in a row, as `fairleadctl state -o json` prints them
// for several nodes.
func DecodeAll(body []byte) ([]State, error) {
	var out []State
	decoder := json.NewDecoder(bytes.NewReader(body))
	for {
		var one json.RawMessage
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) && len(out) > 0 {
			return out, nil
		}
		if err != nil {
			return nil, notState(err)
		}
		s, err := Decode(one)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
}

// Decode parses one State as Handler writes it. An unknown field is no error: `fairleadctl` may
// be older than the agent.
func Decode(body []byte) (State, error) {
	var s State
	if err := json.Unmarshal(body, &s); err != nil {
		return State{}, notState(err)
	}
	if s.Node == "" {
		return State{}, notState(errors.New("it names no node"))
	}
	return s, nil
}

func notState(err error) error {
	return fmt.Errorf("not a node state as `fairleadctl state -o json` prints it: %w", err)
}
