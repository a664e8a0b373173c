package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/lab/internal/config"
)

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the processes, the nodes and their services",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			return printStatus(cmd.Context(), l, cmd.OutOrStdout())
		},
	}
}

func printStatus(ctx context.Context, l *lab, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	state, err := l.layout.ReadState()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "up since %s, %s, KUBECONFIG=%s\n\n", state.Started.Format(time.DateTime), state.Accel, state.Kubeconfig)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if err := printProcesses(l, w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	printServices(ctx, w, state)
	if err := w.Flush(); err != nil {
		return err
	}
	nodes, err := client.FromState(state).Kubectl(ctx, nil, "get", "nodes", "-o", "wide")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s", nodes)
	return nil
}

func printProcesses(l *lab, w io.Writer) error {
	list, err := l.procs.List()
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "PROCESS\tPID\tMEMORY\tLOG")
	for _, p := range list {
		memory := "dead"
		if p.Alive() {
			memory = fmt.Sprintf("%d MiB", p.ResidentMiB())
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", p.Name, p.PID, memory, p.Log)
	}
	return nil
}

func printServices(ctx context.Context, w io.Writer, state config.State) {
	fmt.Fprintln(w, "NODE\tSERVICE\tPID\tRESTARTS")
	for _, n := range config.Nodes() {
		list, err := agentOf(n, state).Services(ctx)
		if err != nil {
			fmt.Fprintf(w, "%s\t%v\n", n.Name, err)
			continue
		}
		for _, s := range list {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", n.Name, s.Name, s.PID, s.Restarts)
		}
	}
}
