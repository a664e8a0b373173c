package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/guest"
	"fairlead.dev/fairlead/test/lab/internal/config"
	"fairlead.dev/fairlead/test/lab/internal/controlplane"
	"fairlead.dev/fairlead/test/lab/internal/proc"
	"fairlead.dev/fairlead/test/lab/internal/vm"
)

func newLogs() *cobra.Command {
	var lines int
	cmd := &cobra.Command{
		Use:   "logs [COMPONENT | NODE [SERVICE]]",
		Short: "Show the end of a log",
		Long: `Show the end of a log.

COMPONENT: ` + strings.Join(controlplane.Components(), ", ") + `
NODE SERVICE: ` + strings.Join(guest.ServiceNames(), ", ") + `, console, kernel, agent; without SERVICE, all of them.
Without arguments: a few lines of everything.`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			return printLogs(cmd, l, args, lines)
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 50, "how many lines of each")
	return cmd
}

func printLogs(cmd *cobra.Command, l *lab, args []string, lines int) error {
	state, err := l.layout.ReadState()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 0:
		for _, c := range controlplane.Components() {
			printComponentLog(l, c, lines)
		}
		for _, n := range config.Nodes() {
			printNodeLog(cmd, l.runner(state.Ports), state, n, nodeLogNames(), lines)
		}
		return nil
	case slices.Contains(controlplane.Components(), args[0]):
		printComponentLog(l, args[0], lines)
		return nil
	}
	n, err := config.FindNode(args[0])
	if err != nil {
		return fmt.Errorf("no log of %q: neither a component (%s) nor a node", args[0], strings.Join(controlplane.Components(), ", "))
	}
	names := nodeLogNames()
	if len(args) == 2 {
		if !slices.Contains(names, args[1]) {
			return fmt.Errorf("no log %q of %s: there are %s", args[1], n.Name, strings.Join(names, ", "))
		}
		names = args[1:]
	}
	printNodeLog(cmd, l.runner(state.Ports), state, n, names, lines)
	return nil
}

func nodeLogNames() []string { return append(guest.ServiceNames(), "agent", "kernel", "console") }

func printComponentLog(l *lab, name string, lines int) {
	path := l.layout.Log(name)
	fmt.Printf("==> %s\n%s\n", path, proc.Tail(path, lines))
}

// printNodeLog asks the node. The console is a file of the host, and also shows a node
// that does not answer.
func printNodeLog(cmd *cobra.Command, r vm.Runner, state config.State, n config.Node, names []string, lines int) {
	for _, name := range names {
		fmt.Printf("==> %s %s\n", n.Name, name)
		switch name {
		case "console":
			fmt.Println(proc.Tail(r.Serial(n), lines))
		default:
			if err := agentOf(n, state).Exec(cmd.Context(), nodeLogCommand(name, lines), nil, os.Stdout, os.Stderr); err != nil {
				fmt.Println(err)
			}
		}
	}
}

func nodeLogCommand(name string, lines int) string {
	switch name {
	case "kernel":
		return fmt.Sprintf("dmesg | tail -n %d", lines)
	case "agent":
		return fmt.Sprintf("tail -n %d /run/guestagent.log", lines)
	}
	return fmt.Sprintf("tail -n %d /var/log/lab/%s.log", lines, name)
}
