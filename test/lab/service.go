package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/client"
)

func newRestartKubelet() *cobra.Command {
	var kill bool
	cmd := &cobra.Command{
		Use:   "restart-kubelet NODE",
		Short: "End a node's kubelet and wait until it runs again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openPartial()
			if err != nil {
				return err
			}
			verb := "restart"
			if kill {
				verb = "kill"
			}
			return restart(cmd.Context(), l, args[0], "kubelet", verb)
		},
	}
	cmd.Flags().BoolVar(&kill, "kill", false, "with SIGKILL instead of SIGTERM")
	return cmd
}

func newService() *cobra.Command {
	return &cobra.Command{
		Use:   "service NODE NAME restart|kill|stop|start",
		Short: "Control a node's containerd, kubelet or kube-proxy",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openPartial()
			if err != nil {
				return err
			}
			if args[2] == "restart" || args[2] == "kill" {
				return restart(cmd.Context(), l, args[0], args[1], args[2])
			}
			return l.Control(cmd.Context(), args[0], args[1], args[2])
		},
	}
}

// restart waits until the service has another pid.
func restart(ctx context.Context, l *client.Lab, node, service, verb string) error {
	before, err := pidOf(ctx, l, node, service)
	if err != nil {
		return err
	}
	if err := l.Control(ctx, node, service, verb); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		now, err := pidOf(ctx, l, node, service)
		if err != nil {
			return err
		}
		if now != 0 && now != before {
			fmt.Printf("%s on %s: pid %d, was %d\n", service, node, now, before)
			return nil
		}
	}
	return fmt.Errorf("%s on %s does not come back; see: go run ./test/lab logs %s %s", service, node, node, service)
}

func pidOf(ctx context.Context, l *client.Lab, node, service string) (int, error) {
	list, err := l.Services(ctx, node)
	if err != nil {
		return 0, err
	}
	for _, s := range list {
		if s.Name == service {
			return s.PID, nil
		}
	}
	return 0, fmt.Errorf("no service %q on %s", service, node)
}
