package main

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/lab/internal/progress"
)

func newLoadImage() *cobra.Command {
	return &cobra.Command{
		Use:   "load-image TAR…",
		Short: "Import image archives (OCI layout or docker save) on all nodes",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lab, err := openLab()
			if err != nil {
				return err
			}
			l, err := client.Open()
			if err != nil {
				return err
			}
			for _, tar := range args {
				err := lab.step(cmd.Context(), "load "+tar, func(ctx context.Context, _ *progress.Step) error {
					return l.LoadImage(ctx, tar)
				})
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
}
