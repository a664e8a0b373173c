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

// endpointName returns a file name for a resource: fairlead_fairlead.dev_fast.sock.
// A unix socket's path has at most 107 bytes, and a resource's name up to 317. A long name
// is cut, and a hash is added.
func endpointName(resource string) string {
	const longest = 48
	name := strings.ReplaceAll(resource, "/", "_") // the prefix is a DNS name without a slash
	if len(name) > longest {
		name = fmt.Sprintf("%s-%x", name[:longest-17], sha256.Sum256([]byte(resource)))[:longest]
	}
	return endpointPrefix + name + ".sock"
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
