package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/proc"
)

// bootLimit is many times the time of a boot under emulation (16 s).
const bootLimit = 3 * time.Minute

// Runner starts and ends nodes.
type Runner struct {
	Layout config.Layout
	Ports  config.Ports
	Procs  proc.Table
}

// ProcessName returns the name of a node's process in the table.
func ProcessName(node string) string { return "qemu-" + node }

// Serial returns the path of the file with a node's console.
func (r Runner) Serial(n config.Node) string { return r.Layout.Log(n.Name + "-console") }

// CreateOverlay gives the node a disk of its own above the base disk.
func (r Runner) CreateOverlay(ctx context.Context, n config.Node, base string) error {
	overlay := r.Layout.Overlay(n.Name)
	if err := os.Remove(overlay); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img create %s: %w: %s", overlay, err, out)
	}
	return nil
}

// Start starts the node's machine and returns at once.
func (r Runner) Start(n config.Node, b Boot) error {
	b.Serial = r.Serial(n)
	log := r.Layout.Log(ProcessName(n.Name))
	args := NodeArgs(n, r.Ports, b, r.Layout.Overlay(n.Name), r.Layout.Socket("qmp-"+n.Name))
	_, err := r.Procs.Start(ProcessName(n.Name), log, args...)
	return err
}

// WaitAgent waits until the node's agent answers. If it does not,
// the error has the end of the console.
func (r Runner) WaitAgent(ctx context.Context, n config.Node, agent agentapi.Client) error {
	deadline := time.Now().Add(bootLimit)
	for {
		err := ping(ctx, agent)
		if err == nil {
			return nil
		}
		p, running := r.Procs.Running(ProcessName(n.Name))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !running:
			return fmt.Errorf("%s: the machine ended\nqemu (%s):\n%s\nconsole (%s):\n%s", n.Name,
				r.Layout.Log(ProcessName(n.Name)), proc.Tail(r.Layout.Log(ProcessName(n.Name)), 10), r.Serial(n), proc.Tail(r.Serial(n), 30))
		case time.Now().After(deadline):
			return fmt.Errorf("%s (pid %d): no agent after %s: %w\nconsole (%s):\n%s", n.Name, p.PID, bootLimit, err,
				r.Serial(n), proc.Tail(r.Serial(n), 30))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func ping(ctx context.Context, agent agentapi.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := agent.Services(ctx)
	return err
}
