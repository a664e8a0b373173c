package deviceplugin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// endpointPrefix tells this program's sockets from other plugins'.
const endpointPrefix = "fairlead_"

// endpointName is a file name for a resource: fairlead_fairlead.dev_fast.sock.
// A unix socket's path is at most 107 bytes, a resource's name up to 317: a long
// one is cut, and told from its like by a hash.
func endpointName(resource string) string {
	const longest = 48
	name := strings.ReplaceAll(resource, "/", "_") // a prefix is a DNS name: it has none of its own
	if len(name) > longest {
		name = fmt.Sprintf("%s-%x", name[:longest-17], sha256.Sum256([]byte(resource)))[:longest]
	}
	return endpointPrefix + name + ".sock"
}

// listening is a socket that is served.
type listening struct {
	grpc     *grpc.Server
	path     string
	file     os.FileInfo   // the socket's, to tell it from one that took its place
	failed   chan struct{} // closed when it is no longer served
	stopping atomic.Bool   // streams end because of us
}

// listen makes the socket under another name and renames it: it replaces what an
// earlier agent left, and nobody finds it before it is served.
func (s *server) listen() (*listening, error) {
	path := filepath.Join(s.opts.Dir, s.endpoint)
	building := path + ".new"
	if err := os.RemoveAll(building); err != nil {
		return nil, fmt.Errorf("serve %s: %w", s.resource, err)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: building, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", s.resource, err)
	}
	socket.SetUnlinkOnClose(false) // by then the name is another's
	if err := os.Rename(building, path); err != nil {
		return nil, fmt.Errorf("serve %s: %w", s.resource, errors.Join(err, socket.Close()))
	}
	l := &listening{grpc: grpc.NewServer(), path: path, failed: make(chan struct{})}
	l.file, _ = os.Lstat(path) // nil where it is gone already: not intact
	v1beta1.RegisterDevicePluginServer(l.grpc, service{server: s, listening: l})
	go func() {
		defer close(l.failed)
		_ = l.grpc.Serve(socket) // ends with stop, or an error of accept: either way it is not intact
	}()
	return l, nil
}

// intact reports whether the kubelet can still reach the socket.
func (l *listening) intact() bool {
	if l == nil {
		return false
	}
	select {
	case <-l.failed:
		return false
	default:
	}
	now, err := os.Lstat(l.path)
	return err == nil && sameSocket(now, l.file)
}

// ended is closed when l no longer serves; never for nil.
func (l *listening) ended() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.failed
}

// stop ends the server, gracefully where the streams have a last list to send, and
// removes its socket unless it was replaced.
func (l *listening) stop(gracefully bool) {
	if l == nil {
		return
	}
	l.stopping.Store(true)
	if gracefully {
		const patience = 2 * time.Second // with a kubelet that does not read
		timer := time.AfterFunc(patience, l.grpc.Stop)
		l.grpc.GracefulStop()
		timer.Stop()
	}
	l.grpc.Stop()
	<-l.failed
	if now, err := os.Lstat(l.path); err == nil && sameSocket(now, l.file) {
		os.Remove(l.path)
	}
}
