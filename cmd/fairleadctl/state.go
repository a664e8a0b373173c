package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/view"
)

func newStateCommand(t terminal, from *source) *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "state",
		Short: "Print everything the agent knows; -o json is for scripts and for 'topology FILE…'",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			drawing, err := t.drawn(output, "json", "yaml")
			if err != nil {
				return err
			}
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			switch output {
			case "json":
				return writeJSON(t.out, states)
			case "yaml":
				return writeYAML(t.out, states)
			}
			_, err = io.WriteString(t.out, view.Status(states, drawing)+"\n"+view.Topology(states, drawing))
			return err
		},
	}
	outputFlag(command, &output, "json", "yaml")
	return command
}

func writeJSON(out io.Writer, states []state.State) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	for _, s := range view.Merge(states) {
		if err := encoder.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// writeYAML writes a document for each node.
func writeYAML(out io.Writer, states []state.State) error {
	for _, s := range view.Merge(states) {
		text, err := yaml.Marshal(s)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(out, "---\n"+string(text)); err != nil {
			return err
		}
	}
	return nil
}
