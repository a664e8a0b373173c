// Package egress is the CONNECT proxy on a unix socket through which the API
// server reaches kubelets, pods and Services: none of them is routable from
// the host. A node's address becomes the loopback forward of that node;
// everything else is dialled from within a node by its agent.
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
	"os"
	"time"
)

// dialTimeout leaves the API server time to report an error.
const dialTimeout = 15 * time.Second

// Dialer opens a connection from within a node.
type Dialer interface {
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Node has the destinations of the traffic for one node.
type Node struct {
	Name     string
	Addr     netip.Addr   // as Kubernetes knows it
	Kubelet  string       // host:port of the forward to its kubelet
	PodNet   netip.Prefix // addresses that are best dialled from this node
	FromNode Dialer
}

// Proxy serves CONNECT requests.
type Proxy struct {
	Nodes []Node
	Log   *slog.Logger
}

// Serve listens on a unix socket until ctx ends.
func (p *Proxy) Serve(ctx context.Context, socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	for {
		c, err := l.Accept()
		if err != nil {
			return context.Cause(ctx)
		}
		go p.handle(ctx, c) // ends with its connection
	}
}

func (p *Proxy) handle(ctx context.Context, c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	up, err := p.dial(dialCtx, r.Host)
	cancel()
	if err != nil {
		p.Log.Warn("cannot reach", "address", r.Host, "error", err)
		fmt.Fprintf(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\n%v\n", err)
		return
	}
	defer up.Close()
	p.Log.Info("connected", "address", r.Host)
	if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() { // ends when either side closes
		io.Copy(up, in)
		if half, ok := up.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	io.Copy(c, up)
}

// dial chooses the way by the address: the node's own forward for its kubelet, the pod's
// node for a pod, and any node that answers for a Service.
func (p *Proxy) dial(ctx context.Context, addr string) (net.Conn, error) {
	target, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("want an address and a port: %w", err)
	}
	var errs []error
	for _, n := range p.order(target.Addr()) {
		var c net.Conn
		if n.Addr == target.Addr() && target.Port() == kubeletPort {
			c, err = (&net.Dialer{}).DialContext(ctx, "tcp", n.Kubelet)
		} else {
			c, err = n.FromNode.Dial(ctx, addr)
		}
		if err == nil {
			return c, nil
		}
		errs = append(errs, fmt.Errorf("through %s: %w", n.Name, err))
	}
	return nil, errors.Join(errs...)
}

const kubeletPort = 10250

// order returns the nodes to try: the owner of the address if there is one, otherwise
// all nodes.
func (p *Proxy) order(a netip.Addr) []Node {
	for _, n := range p.Nodes {
		if n.Addr == a || n.PodNet.Contains(a) {
			return []Node{n}
		}
	}
	return p.Nodes
}
