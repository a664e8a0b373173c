package deviceplugin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/retry"
)

// run keeps the socket and the registration valid until ctx ends.
func (s *server) run(ctx context.Context) {
	session := &session{}
	defer func() { session.listening.stop(s.isWithdrawn()) }()
	for {
		err := s.ensure(ctx, session)
		s.noteRegistration(ctx, err)
		if !s.wait(ctx, session, err) {
			return
		}
	}
}

// session is a server's socket and registration.
type session struct {
	listening *listening
	kubelet   os.FileInfo // the kubelet's socket at the time of the registration; nil: not registered
}

// ensure listens and registers, unless both are still valid.
//
// The old socket is closed before the new one is registered. When a stream ends, the
// kubelet disconnects the plugin that is registered for the resource at that moment, which
// must not be the new one.
func (s *server) ensure(ctx context.Context, now *session) error {
	if !now.listening.intact() {
		now.listening.stop(false)
		*now = session{}
		l, err := s.listen()
		if err != nil {
			return err
		}
		now.listening = l
	}
	kubelet, err := os.Lstat(filepath.Join(s.opts.Dir, kubeletSocket))
	if err != nil {
		now.kubelet = nil
		return fmt.Errorf("register %s: the kubelet does not listen: %w", s.resource, err)
	}
	if sameSocket(now.kubelet, kubelet) {
		return nil
	}
	now.kubelet = nil
	if err := s.register(ctx); err != nil {
		return err
	}
	now.kubelet = kubelet
	return nil
}

// wait waits until socket and registration have to be checked again. It returns false if
// ctx has ended.
func (s *server) wait(ctx context.Context, now *session, failed error) bool {
	var again <-chan time.Time
	if failed != nil {
		again = time.After(s.opts.Retry)
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.check:
	case <-again:
	case <-now.listening.ended():
	case <-s.hungUp:
		// Either the kubelet is stopping, and accepts no registration for a while. Or it has
		// disconnected us instead of a plugin that ended before: see ensure.
		now.kubelet = nil
		return retry.Sleep(ctx, s.opts.Retry) == nil
	}
	return true
}

// sameSocket compares the times too: a new file may get the inode number of a file that was
// just removed.
func sameSocket(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime())
}

// noteRegistration records the result of ensure, and logs it if it has changed.
func (s *server) noteRegistration(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if !s.registered {
			s.opts.Log.Info("resource is registered with the kubelet", "resource", s.resource, "devices", len(s.list))
		}
	case s.err == nil || s.err.Error() != err.Error():
		s.opts.Log.Warn("cannot register the resource; trying again", "resource", s.resource, "error", err)
	}
	s.registered, s.err = err == nil, err
}

// register announces the socket to the kubelet, which connects to it at once.
func (s *server) register(ctx context.Context) error {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	socket := filepath.Join(s.opts.Dir, kubeletSocket)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("register %s with the kubelet at %s: %w", s.resource, socket, err)
	}
	defer conn.Close()
	_, err = v1beta1.NewRegistrationClient(conn).Register(ctx, &v1beta1.RegisterRequest{
		Version: v1beta1.Version, Endpoint: s.endpoint, ResourceName: s.resource, Options: &v1beta1.DevicePluginOptions{},
	})
	if err != nil {
		return fmt.Errorf("register %s with the kubelet at %s: %w", s.resource, socket, err)
	}
	return nil
}
