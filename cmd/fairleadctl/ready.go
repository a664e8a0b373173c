package main

import (
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/state"
)

func newReadyCommand(from *source) *cobra.Command {
	return &cobra.Command{
		Use:   "ready",
		Short: "Exit with 0 if the agent serves pods; otherwise print the reason and exit with 2 (for probes)",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return state.NewClient(from.socket).Ready(cmd.Context()) },
	}
}
