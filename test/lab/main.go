// Command lab runs Kubernetes with real SR-IOV on one machine: a control
// plane on loopback and two nodes as virtual machines with emulated Intel
// 82576 network cards. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/test/lab/internal/agentapi"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	return exitCode(err)
}

// kubectlError is a kubectl that has failed. It has printed its reason, and its code counts.
type kubectlError struct{ *exec.ExitError }

// exitCode returns a command's own code, since scripts rely on it.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var remote *agentapi.ExitError
	if errors.As(err, &remote) {
		return remote.Code
	}
	var kubectl kubectlError
	if errors.As(err, &kubectl) {
		return kubectl.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "lab",
		Short:         "Kubernetes with real SR-IOV on this machine",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newUp(), newDown(), newStatus(), newBuild(),
		newExec(), newKubectl(), newLogs(), newLoadImage(),
		newRestartKubelet(), newService(), newPowerCut(), newEgress(),
	)
	return root
}
