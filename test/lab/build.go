package main

import (
	"github.com/spf13/cobra"
)

func newBuild() *cobra.Command {
	return &cobra.Command{
		Use:   "build",
		Short: "Make everything that up needs and start nothing (as up --only-prepare)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab()
			if err != nil {
				return err
			}
			if err := l.lock(); err != nil {
				return err
			}
			_, err = l.prepare(cmd.Context())
			return err
		},
	}
}
