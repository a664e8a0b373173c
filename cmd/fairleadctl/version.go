package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newVersionCommand(t terminal, from *source) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the builds of this program and of the agent",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(t.out, "fairleadctl", build)
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			for _, s := range states {
				fmt.Fprintf(t.out, "agent on %s %s\n", s.Node, s.Build)
			}
			return nil
		},
	}
}
