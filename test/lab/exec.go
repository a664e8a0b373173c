package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/client"
)

func newExec() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use:   "exec [-i] NODE COMMAND…",
		Short: "Run a command on a node, as root, with bash -c",
		Long: `Run a command on a node, as root.

The words are joined by blanks and given to bash -c on the node, as ssh does;
the exit code is the command's.`,
		Args:                  cobra.MinimumNArgs(2),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openPartial()
			if err != nil {
				return err
			}
			in := os.Stdin
			if !stdin {
				in = nil
			}
			return execOn(cmd, l, args[0], strings.Join(args[1:], " "), in)
		},
	}
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "give the command this program's standard input")
	cmd.Flags().SetInterspersed(false) // flags after NODE are the command's
	return cmd
}

func execOn(cmd *cobra.Command, l *client.Lab, node, command string, stdin *os.File) error {
	if stdin == nil {
		return l.ExecStream(cmd.Context(), node, command, nil, os.Stdout, os.Stderr)
	}
	return l.ExecStream(cmd.Context(), node, command, stdin, os.Stdout, os.Stderr)
}
