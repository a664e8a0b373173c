package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/view"
)

// errProblems makes the program exit with exitProblems. The problems have been printed.
var errProblems = errors.New("the node has problems")

func newStatusCommand(t terminal, from *source) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print the node's health; exit code 0: healthy, 1: problems, 2: no answer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(t.out, view.Status(states)); err != nil {
				return err
			}
			if !view.Healthy(states) {
				return errProblems
			}
			return nil
		},
	}
}
