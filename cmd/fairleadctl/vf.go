package main

import (
	"io"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/pkg/view"
)

func newVFCommand(t terminal, from *source) *cobra.Command {
	return &cobra.Command{
		Use:     "vf [VF…]",
		Short:   "List the VFs, or show who holds one and how it was before",
		Example: "  fairleadctl vf\n  fairleadctl vf 0000:3b:02.1\n  fairleadctl vf ens1f0/3",
		RunE: func(cmd *cobra.Command, names []string) error {
			states, err := from.read(cmd.Context(), t.in)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				_, err = io.WriteString(t.out, view.VFs(states))
				return err
			}
			for _, name := range names {
				described, err := view.VF(states, name)
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
}
