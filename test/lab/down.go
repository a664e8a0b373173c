package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/controlplane"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

func newDown() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End what the lab started, and delete this run's disks, keys and logs",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			return l.down()
		},
	}
}

func (l *lab) down() error {
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

// stopAll ends recorded processes only: a pid that changed hands is left alone.
func (l *lab) stopAll() error {
	var errs []error
	for _, n := range config.Nodes() {
		errs = append(errs, l.procs.Stop(vm.ProcessName(n.Name), 3*time.Second))
	}
	errs = append(errs, controlplane.ControlPlane{Procs: l.procs}.Down())
	return errors.Join(errs...)
}
