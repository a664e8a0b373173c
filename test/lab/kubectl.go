package main

import (
	"errors"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

func newKubectl() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl …",
		Short:              "Run the lab's kubectl as administrator",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openPartial()
			if err != nil {
				return err
			}
			c := exec.CommandContext(cmd.Context(), l.KubectlPath(), args...)
			c.Env = append(os.Environ(), "KUBECONFIG="+l.Kubeconfig())
			c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
			err = c.Run()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				return kubectlError{exit}
			}
			return err
		},
	}
}
