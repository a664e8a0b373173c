package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/lab/internal/agentapi"
	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/lock"
	"fairlead.dev/fairlead/test/lab/internal/proc"
	"fairlead.dev/fairlead/test/lab/internal/progress"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

// lab is what every command works with.
type lab struct {
	layout config.Layout
	procs  proc.Table
	report *progress.Reporter
}

func openLab() (*lab, error) {
	layout, err := config.NewLayout()
	if err != nil {
		return nil, err
	}
	return &lab{
		layout: layout,
		procs:  proc.Table{Dir: filepath.Join(layout.Run, "proc")},
		report: progress.New(os.Stderr),
	}, nil
}

// lock lets one command change the lab at a time.
func (l *lab) lock() error {
	var held *lock.HeldError
	err := lock.Try(l.layout.Lock(), "a lab command")
	if errors.As(err, &held) {
		return fmt.Errorf("%s is at work (lock %s); wait for it", held.Holder, held.Path)
	}
	return err
}

// openPartial opens a lab that need not be completely up. Its commands help to find
// the reason.
func openPartial() (*client.Lab, error) {
	layout, err := config.NewLayout()
	if err != nil {
		return nil, err
	}
	state, err := layout.ReadState()
	if err != nil {
		return nil, err
	}
	return client.FromState(state), nil
}

func (l *lab) runner(ports config.Ports) vm.Runner {
	return vm.Runner{Layout: l.layout, Ports: ports, Procs: l.procs}
}

func agentOf(n config.Node, s config.State) agentapi.Client {
	return agentapi.Client{Addr: fmt.Sprintf("%s:%d", n.HostIP(), s.Ports.Agent), Token: s.Token}
}

// step runs fn as a step that people see.
func (l *lab) step(ctx context.Context, name string, fn func(context.Context, *progress.Step) error) error {
	return l.report.Step(name, func(s *progress.Step) error { return fn(ctx, s) })
}
