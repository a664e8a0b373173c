package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// dialPause is the time between two tries to reach an agent that is away.
const dialPause = 100 * time.Millisecond

// dial connects to the agent. If the agent is away, dial tries again until wait is over.
func dial(ctx context.Context, socket string, wait time.Duration) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		conn, err := connect(socket)
		if err == nil {
			return conn, nil
		}
		if !agentAway(err) {
			return nil, fmt.Errorf("connecting to the Fairlead agent at %s: %w", socket, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no Fairlead agent answers at %s (%w)%s; look at the agent's pod on this node: "+
				"kubectl get pods -A -l app.kubernetes.io/name=fairlead-agent -o wide", socket, err, waited(wait))
		case <-time.After(dialPause):
		}
	}
}

func waited(wait time.Duration) string {
	if wait == 0 {
		return ""
	}
	return fmt.Sprintf(" after waiting %v", wait)
}

// agentAway are the errors of a socket that nobody listens on, or not yet; a full
// backlog is one of them.
func agentAway(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOTDIR)
}

// connect opens a unix stream socket. Package net would do the same and double
// the shim's size. (connect on a unix socket does not block, except on a full
// backlog, in which case a non-blocking socket returns EAGAIN.)
func connect(socket string) (*os.File, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), socket), nil
}
