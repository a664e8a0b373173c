package agentapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client talks to one node's agent.
type Client struct {
	Addr  string // host:port on the host's loopback
	Token string
}

// Service is a supervised process of a node.
type Service struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"` // 0: not running
	Restarts int    `json:"restarts"`
	Stopped  bool   `json:"stopped"` // by request
	Log      string `json:"log"`
}

// ExitError reports a command that ended with another code than 0.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// httpClient keeps no connection. A node may be cut off at any time, and a dead
// connection in a pool would fail the first request after the node's return.
var httpClient = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true,
	DialContext:       (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
}}

// Exec runs command with bash -c in the node.
func (c Client) Exec(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) error {
	header := http.Header{HeaderCommand: {base64.StdEncoding.EncodeToString([]byte(command))}}
	resp, err := c.do(ctx, "POST", "/exec", header, stdin)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	code, err := ReadFrames(resp.Body, stdout, stderr)
	if err != nil {
		return err
	}
	if code != 0 {
		return &ExitError{Code: code}
	}
	return nil
}

// Put writes a file in the node. It appears under its name when it is complete.
func (c Client) Put(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
	q := url.Values{"path": {path}, "mode": {strconv.FormatUint(uint64(mode.Perm()), 8)}}
	resp, err := c.do(ctx, "POST", "/put?"+q.Encode(), nil, r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Services lists the supervised processes.
func (c Client) Services(ctx context.Context) ([]Service, error) {
	resp, err := c.do(ctx, "GET", "/services", nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var list []Service
	return list, json.NewDecoder(resp.Body).Decode(&list)
}

// Control does "restart", "kill", "stop" or "start" to a service.
func (c Client) Control(ctx context.Context, service, verb string) error {
	resp, err := c.do(ctx, "POST", "/services/"+url.PathEscape(service)+"/"+verb, nil, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Dial opens a connection from within the node.
func (c Client) Dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, err
	}
	if err := c.connect(conn, addr); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (c Client) connect(conn net.Conn, addr string) error {
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	defer conn.SetDeadline(time.Time{})
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\n\r\n", addr, addr, HeaderToken, c.Token); err != nil {
		return err
	}
	status, err := readHead(conn)
	if err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") {
		return fmt.Errorf("dial %s from the node: %s", addr, strings.TrimSpace(status))
	}
	return nil
}

// readHead reads a reply's head byte by byte, so that it swallows nothing that the other
// side sends after it.
func readHead(r io.Reader) (string, error) {
	var head []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); {
		if len(head) > 4096 {
			return "", fmt.Errorf("reply head of more than %d bytes", len(head))
		}
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		head = append(head, b[0])
	}
	return string(head), nil
}

func (c Client) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Addr+path, body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set(HeaderToken, c.Token)
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return nil, fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}
