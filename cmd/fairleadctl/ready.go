package main

import (
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/state"
)

func newReadyCommand(from *source) *cobra.Command {
	return &cobra.Command{
		Use:   "ready",
		Short: "Exit with 0 where the agent serves pods, with 2 and the reason where it does not: for probes",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return state.NewClient(from.socket).Ready(cmd.Context()) },
	}
}
