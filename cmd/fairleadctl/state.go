package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/view"
)

func newStateCommand(t terminal, from *source) *cobra.Command {
	output := "text"
	command := &cobra.Command{
		Use:   "state",
		Short: "Print everything the agent knows; -o json is for scripts and for 'topology FILE…'",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q is not supported: use text or json", output)
			}
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			if output == "json" {
				encoder := json.NewEncoder(t.out)
				encoder.SetIndent("", "  ")
				for _, s := range view.Merge(states) {
					if err := encoder.Encode(s); err != nil {
						return err
					}
				}
				return nil
			}
			_, err = io.WriteString(t.out, view.Status(states)+"\n"+view.Topology(states, t.drawing))
			return err
		},
	}
	command.Flags().StringVarP(&output, "output", "o", output, "text or json")
	return command
}
