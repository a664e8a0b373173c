package main

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/progress"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

func newPowerCut() *cobra.Command {
	return &cobra.Command{
		Use:   "power-cut NODE",
		Short: "Kill a node's machine and boot it again from the same disk",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			n, err := config.FindNode(args[0])
			if err != nil {
				return err
			}
			return cutPower(cmd.Context(), l, n)
		},
	}
}

func cutPower(ctx context.Context, l *lab, n config.Node) error {
	if err := l.lock(); err != nil {
		return err
	}
	state, err := l.layout.ReadState()
	if err != nil {
		return err
	}
	if err := l.procs.Kill(vm.ProcessName(n.Name)); err != nil {
		return err
	}
	r := l.runner(state.Ports)
	return l.step(ctx, n.Name+" boots again", func(ctx context.Context, _ *progress.Step) error {
		b := vm.Boot{Accel: state.Accel, Kernel: state.Kernel, Initramfs: l.nodeInitrdPath(n)}
		if err := r.Start(n, b); err != nil {
			return err
		}
		return r.WaitAgent(ctx, n, agentOf(n, state))
	})
}
