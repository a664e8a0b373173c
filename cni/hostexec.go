package cni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/cni/run"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/netns"
)

// HostExec runs plugins if no shim is there to do it: for a tombstone, on a
// retry, when the runtime has hung up. Plugins are host programs, so they run in
// the host's mount namespace, and outside the agent's cgroup, where their memory
// would count as the agent's (m#1346).
type HostExec struct {
	version.PluginDecoder
	mountNS string // file of the host's mount namespace; empty: the agent's own is the host's
	cgroup  string // directory, as the host sees it, of a cgroup to run in; empty: the agent's
}

// NewHostExec makes an executor for an agent in a container that shares the host's
// process namespace.
func NewHostExec() *HostExec {
	return &HostExec{mountNS: "/proc/1/ns/mnt", cgroup: "/sys/fs/cgroup"}
}

var _ invoke.Exec = (*HostExec)(nil)

// FindInPath looks for the plugin in the host's directories.
func (e *HostExec) FindInPath(plugin string, paths []string) (file string, err error) {
	err = e.onHost(func() error {
		file, err = run.Find(plugin, strings.Join(paths, string(os.PathListSeparator)))
		return err
	})
	return file, err
}

// ExecPlugin runs the plugin and waits for its end; with ctx it is killed.
func (e *HostExec) ExecPlugin(ctx context.Context, file string, stdin []byte, environ []string) ([]byte, error) {
	var wait func() (run.Output, error)
	err := e.onHost(func() (err error) {
		wait, err = e.start(ctx, run.Command{File: file, Env: hostEnv(environ), Stdin: stdin})
		return err
	})
	if err != nil {
		return nil, err
	}
	out, err := wait()
	if err != nil {
		return nil, err
	}
	return pluginOutput(filepath.Base(file), wire.Ran{Stdout: out.Stdout, Stderr: out.Stderr, ExitCode: out.ExitCode})
}

// start prefers the cgroup outside the agent's. If that cannot be used (cgroup v1, a
// kernel before 5.7, a cgroup that takes no processes), it starts in the agent's.
func (e *HostExec) start(ctx context.Context, c run.Command) (func() (run.Output, error), error) {
	if e.cgroup != "" {
		if dir, err := os.Open(e.cgroup); err == nil {
			defer dir.Close()
			inCgroup := c
			inCgroup.Cgroup = int(dir.Fd())
			if wait, err := run.Start(ctx, inCgroup); err == nil {
				return wait, nil
			}
		}
	}
	return run.Start(ctx, c)
}

// onHost runs fn on a thread in the host's mount namespace. The thread is given
// up afterwards.
func (e *HostExec) onHost(fn func() error) (err error) {
	if e.mountNS == "" {
		return fn()
	}
	netns.Apart(func() (asItWas bool) {
		if err = e.enter(); err != nil {
			err = fmt.Errorf("enter the host's mount namespace: %w; the agent needs hostPID and CAP_SYS_ADMIN", err)
		} else {
			err = fn()
		}
		return false
	})
	return err
}

func (e *HostExec) enter() error {
	ns, err := os.Open(e.mountNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	// Threads share root and working directory; setns refuses to change them for one
	// of several that do.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
}

// hostEnv adds a PATH on the host to the CNI variables.
func hostEnv(environ []string) []string {
	return append(cniEnv(environ), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}
