package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/view"
)

// errProblems makes the program exit with exitProblems. The problems have been printed.
var errProblems = errors.New("the node has problems")

func newStatusCommand(t terminal, from *source) *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "status",
		Short: "Print the node's health; exit code 0: healthy, 1: problems, 2: no answer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			drawing, err := t.drawn(output, "json")
			if err != nil {
				return err
			}
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			if err := writeStatus(t.out, states, output, drawing); err != nil {
				return err
			}
			if !view.Healthy(states) {
				return errProblems
			}
			return nil
		},
	}
	outputFlag(command, &output, "json")
	return command
}

func writeStatus(out io.Writer, states []state.State, output string, drawing view.Options) error {
	if output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(view.NewReport(states))
	}
	_, err := io.WriteString(out, view.Status(states, drawing))
	return err
}
