package main

import (
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/view"
)

func newTopologyCommand(t terminal, from *source) *cobra.Command {
	var width string
	command := &cobra.Command{
		Use:   "topology [FILE…]",
		Short: "Draw nodes, NUMA nodes, PFs, VFs and the pods that hold them",
		Long: `Draw nodes, NUMA nodes, PFs, VFs and the pods that hold them.

With files, each a node's 'fairleadctl state -o json', several nodes are drawn as one picture.`,
		RunE: func(cmd *cobra.Command, files []string) error {
			drawing, err := t.drawn(width)
			if err != nil {
				return err
			}
			states, err := source{socket: from.socket, files: append(from.files, files...)}.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			_, err = io.WriteString(t.out, view.Topology(states, drawing))
			return err
		},
	}
	outputFlag(command, &width)
	return command
}
