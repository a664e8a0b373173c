// Command fairleadctl shows the state of the agent on a node: its NICs and VFs, who holds them,
// pools, profiles and problems. It asks the agent over its unix socket, without the API server,
// or reads saved states. It changes nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// build is set by the linker: -X main.build=… (see the Makefile).
var build = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(processTerminal())
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errProblems):
		return exitProblems
	}
	fmt.Fprintln(os.Stderr, "fairleadctl:", err)
	return exitFailed
}
