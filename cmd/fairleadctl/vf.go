package main

import (
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/view"
)

func newVFCommand(t terminal, from *source) *cobra.Command {
	var width string
	command := &cobra.Command{
		Use:     "vf [VF|PF|NETDEV|POD…]",
		Short:   "List the VFs, or show who holds one and how it was before",
		Example: "  fairleadctl vf\n  fairleadctl vf 0000:3b:02.1\n  fairleadctl vf ens1f0/3\n  fairleadctl vf ens1f0\n  fairleadctl vf default/router",
		RunE: func(cmd *cobra.Command, names []string) error {
			drawing, err := t.drawn(width)
			if err != nil {
				return err
			}
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				_, err = io.WriteString(t.out, view.VFs(states, drawing))
				return err
			}
			for _, name := range names {
				described, err := view.VF(states, name, drawing)
				if err != nil {
					return err
				}
				if _, err := io.WriteString(t.out, described); err != nil {
					return err
				}
			}
			return nil
		},
	}
	outputFlag(command, &width)
	return command
}
