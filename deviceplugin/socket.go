package deviceplugin

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/host"
)

// endpointPrefix distinguishes this program's sockets from other plugins'.
const endpointPrefix = "fairlead_"

const (
	endpointSuffix = ".sock"
	longestPath    = 107 // of a unix socket, in bytes
	longestName    = 48
	shortestName   = 24 // a hash and a few letters
)

// endpointName returns a file name for a resource: fairlead_fairlead.dev_fast.sock. A resource's
// name has up to 317 bytes, and the kubelet's directory may be long as well. A name that is
// too long is cut, and a hash is added.
func endpointName(dir, resource string) string {
	room := longestPath - len(filepath.Join(dir, endpointPrefix)+endpointSuffix)
	longest := min(longestName, max(room, shortestName))
	name := strings.ReplaceAll(resource, "/", "_") // the prefix is a DNS name without a slash
	if len(name) > longest {
		name = fmt.Sprintf("%s-%x", name[:longest-17], sha256.Sum256([]byte(resource)))[:longest]
	}
	return endpointPrefix + name + endpointSuffix
}

// listening is a socket with its gRPC server.
type listening struct {
	grpc     *grpc.Server
	path     string
	file     os.FileInfo   // the socket's, to notice that it was replaced
	failed   chan struct{} // closed when it is no longer served
	stopping atomic.Bool   // we end the streams, not the kubelet
}

// listen makes the socket, which replaces that of an earlier agent in one step.
func (s *server) listen() (*listening, error) {
	path := filepath.Join(s.opts.Dir, s.endpoint)
	if n := len(path); n > longestPath {
		return nil, fmt.Errorf("serve %s: the path of its socket, %s, has %d bytes, and the kernel takes %d: give the kubelet a shorter --root-dir, or mount it at a shorter path", s.resource, path, n, longestPath)
	}
	socket, err := host.ListenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", s.resource, err)
	}
	l := &listening{grpc: grpc.NewServer(), path: path, failed: make(chan struct{})}
	l.file, _ = os.Lstat(path) // nil if it is gone already; then it is not intact
	v1beta1.RegisterDevicePluginServer(l.grpc, service{server: s, listening: l})
	go func() {
		defer close(l.failed)
		_ = l.grpc.Serve(socket) // ends with stop, or with an error; then it is not intact
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

// ended returns a channel that is closed when l no longer serves. If l is nil, it returns
// nil.
func (l *listening) ended() <-chan struct{} {
	if l == nil {
		return nil
	}
	return l.failed
}

// stop ends the server. If the streams still have a list to send, stop it gracefully. The
// socket is removed unless it was replaced.
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
