// Package client uses the running lab: kubectl, commands and files on its
// nodes, images. It starts and stops nothing, except services that a test cuts
// off on purpose. The lab itself is started and stopped by its own program.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/lock"
	"fairlead.dev/fairlead/test/lab/internal/proc"
)

// ErrNotRunning is returned by Open if there is no lab. It says how to start one.
var ErrNotRunning = config.ErrNotRunning

// apiServer is the name of its process among those of the lab.
const apiServer = "kube-apiserver"

// Lab is the running lab.
type Lab struct{ state config.State }

// Open finds the running lab. The error says how to start it.
func Open() (*Lab, error) {
	layout, err := config.NewLayout()
	if err != nil {
		return nil, err
	}
	state, err := layout.ReadState()
	if err != nil {
		return nil, err
	}
	if !state.Ready {
		return nil, errors.New("the lab is not completely up; finish it with: go run ./test/lab up")
	}
	return FromState(state), nil
}

// Reserve waits until nobody else has reserved the lab, and then reserves it until this
// process ends: two test runs would delete each other's pods. If it has to wait, it calls
// waiting once with the name of the holder.
func Reserve(ctx context.Context, who string, waiting func(holder string)) error {
	layout, err := config.NewLayout()
	if err != nil {
		return err
	}
	if err := lock.Wait(ctx, layout.InUse(), who, waiting); err != nil {
		return fmt.Errorf("the lab is in use: %w", err)
	}
	return nil
}

// FromState returns the lab of a record. It is for the lab's own program.
func FromState(state config.State) *Lab { return &Lab{state: state} }

// Nodes returns the nodes' names.
func (l *Lab) Nodes() []string { return append([]string(nil), l.state.Nodes...) }

// Kubeconfig returns the path of the administrator's kubeconfig, for the host.
func (l *Lab) Kubeconfig() string { return l.state.Kubeconfig }

// KubectlPath returns the path of the kubectl that belongs to the lab's Kubernetes.
func (l *Lab) KubectlPath() string { return l.state.Kubectl }

// Kubectl runs kubectl as administrator and returns its stdout. The error
// has its stderr.
func (l *Lab) Kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.state.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+l.state.Kubeconfig)
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// ExitError reports a command on a node that ended with another code than 0.
type ExitError struct {
	Node, Command string
	Code          int
	Stderr        string
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: %s: exit code %d: %s", e.Node, e.Command, e.Code, strings.TrimSpace(e.Stderr))
}

// Exec runs a command with bash -c on a node, as root, and returns its
// stdout. A code other than 0 is an *ExitError with the stderr.
func (l *Lab) Exec(ctx context.Context, node, command string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := l.ExecStream(ctx, node, command, nil, &stdout, &stderr)
	var exit *agentapi.ExitError
	if errors.As(err, &exit) {
		err = &ExitError{Node: node, Command: command, Code: exit.Code, Stderr: stderr.String()}
	}
	return stdout.String(), err
}

// ExecStream runs a command on a node with its streams connected.
func (l *Lab) ExecStream(ctx context.Context, node, command string, stdin io.Reader, stdout, stderr io.Writer) error {
	agent, err := l.agent(node)
	if err != nil {
		return err
	}
	if err := agent.Exec(ctx, command, stdin, stdout, stderr); err != nil {
		return fmt.Errorf("%s: %w", node, err)
	}
	return nil
}

// Put writes a file on a node. It appears under its name when it is complete.
func (l *Lab) Put(ctx context.Context, node, remotePath string, mode fs.FileMode, r io.Reader) error {
	agent, err := l.agent(node)
	if err != nil {
		return err
	}
	if err := agent.Put(ctx, remotePath, mode, r); err != nil {
		return fmt.Errorf("put %s on %s: %w", remotePath, node, err)
	}
	return nil
}

// importCommand takes an image archive, OCI or docker save, from stdin.
const importCommand = "ctr -n k8s.io images import -"

// LoadImage imports an image archive (OCI layout or docker save, as a tar)
// into the containerd of every node, all at once.
func (l *Lab) LoadImage(ctx context.Context, tar string) error {
	errs := make([]error, len(l.state.Nodes))
	var wg sync.WaitGroup
	for i, node := range l.state.Nodes {
		wg.Go(func() { errs[i] = l.loadImageTo(ctx, node, tar) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (l *Lab) loadImageTo(ctx context.Context, node, tar string) error {
	f, err := os.Open(tar)
	if err != nil {
		return err
	}
	defer f.Close()
	var output bytes.Buffer
	if err := l.ExecStream(ctx, node, importCommand, f, &output, &output); err != nil {
		return fmt.Errorf("import %s: %w: %s", tar, err, strings.TrimSpace(output.String()))
	}
	return nil
}

// Service is a supervised process of a node: containerd, kubelet, kube-proxy.
type Service struct {
	Name     string
	PID      int
	Restarts int
}

// Services lists a node's supervised processes.
func (l *Lab) Services(ctx context.Context, node string) ([]Service, error) {
	agent, err := l.agent(node)
	if err != nil {
		return nil, err
	}
	list, err := agent.Services(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the services of %s: %w", node, err)
	}
	var out []Service
	for _, s := range list {
		out = append(out, Service{Name: s.Name, PID: s.PID, Restarts: s.Restarts})
	}
	return out, nil
}

// Control does restart (SIGTERM, comes back within a second), kill (SIGKILL,
// comes back), stop or start to a node's service.
func (l *Lab) Control(ctx context.Context, node, service, verb string) error {
	agent, err := l.agent(node)
	if err != nil {
		return err
	}
	if err := agent.Control(ctx, service, verb); err != nil {
		return fmt.Errorf("%s %s on %s: %w", verb, service, node, err)
	}
	return nil
}

// StopAPIServer keeps the API server from running (SIGSTOP) until start is called: it
// takes connections and answers nothing. start may be called more than once.
func (l *Lab) StopAPIServer() (start func() error, err error) {
	layout, err := config.NewLayout()
	if err != nil {
		return nil, err
	}
	processes := proc.Table{Dir: filepath.Join(layout.Run, "proc")}
	if err := processes.Signal(apiServer, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop the API server: %w", err)
	}
	return func() error { return processes.Signal(apiServer, syscall.SIGCONT) }, nil
}

func (l *Lab) agent(node string) (agentapi.Client, error) {
	n, err := config.FindNode(node)
	if err != nil {
		return agentapi.Client{}, err
	}
	return agentapi.Client{Addr: fmt.Sprintf("%s:%d", n.HostIP(), l.state.Ports.Agent), Token: l.state.Token}, nil
}
