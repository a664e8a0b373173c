package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/controlplane"
	"fairlead.dev/fairlead/test/lab/internal/lock"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

func newDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End what the lab started, and delete this run's disks, keys and logs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			return l.down(cmd.Context())
		},
	}
}

// down waits until no test or demo uses the lab.
func (l *lab) down(ctx context.Context) error {
	err := lock.Wait(ctx, l.layout.InUse(), "lab down", func(who string) {
		l.report.Note("the lab is in use by %s; waiting for its end", who)
	})
	if err != nil {
		return err
	}
	if err := l.lock(); err != nil {
		return err
	}
	if err := l.stopAll(); err != nil {
		return err
	}
	if err := os.RemoveAll(l.layout.Run); err != nil {
		return err
	}
	l.report.Note("the lab is down; its cache stays in %s", l.layout.Cache)
	return nil
}

// stopAll ends only recorded processes. It leaves a pid alone that is another process's now.
func (l *lab) stopAll() error {
	var errs []error
	for _, n := range config.Nodes() {
		errs = append(errs, l.procs.Stop(vm.ProcessName(n.Name), 3*time.Second))
	}
	errs = append(errs, controlplane.ControlPlane{Procs: l.procs}.Down())
	return errors.Join(errs...)
}
