package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// answering is a node whose dialler answers with its own name.
type answering struct{ name string }

func (a answering) Dial(_ context.Context, addr string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { // ends when the text is read
		fmt.Fprintf(far, "%s to %s", a.name, addr)
		far.Close()
	}()
	return near, nil
}

// dead is a node that was cut off.
type dead struct{}

func (dead) Dial(context.Context, string) (net.Conn, error) { return nil, errors.New("power cut") }

func TestWays(t *testing.T) {
	kubelet := serve(t, "kubelet of node1")
	node := func(i int, d Dialer) Node {
		return Node{
			Name:     fmt.Sprintf("node%d", i),
			Addr:     netip.MustParseAddr(fmt.Sprintf("10.0.%d.15", i)),
			Kubelet:  kubelet,
			PodNet:   netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)),
			FromNode: d,
		}
	}
	socket := start(t, &Proxy{Nodes: []Node{node(1, dead{}), node(2, answering{"node2"})}})
	for target, want := range map[string]string{
		"10.0.1.15:10250":  "200 kubelet of node1",
		"10.0.2.15:9100":   "200 node2 to 10.0.2.15:9100",
		"10.244.2.7:8443":  "200 node2 to 10.244.2.7:8443",
		"10.244.1.7:8443":  "502 through node1: power cut\n",
		"10.96.0.20:443":   "200 node2 to 10.96.0.20:443", // a Service: whichever node lives
		"not-an-address:1": "502 want an address and a port",
	} {
		if got := connect(t, socket, target); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

func serve(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, text)
			c.Close()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T, p *Proxy) string {
	t.Helper()
	p.Log = slog.New(slog.DiscardHandler)
	socket := filepath.Join(t.TempDir(), "s")
	go p.Serve(t.Context(), socket) // ends with the test
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket
		}
	}
	t.Fatal("the proxy does not listen")
	return ""
}

// connect returns the status code and all that follows.
func connect(t *testing.T, socket, target string) string {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(r)
	return fmt.Sprintf("%d %s", resp.StatusCode, rest)
}
