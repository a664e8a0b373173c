// Command fairlead-cni is the CNI plugin "fairlead": a shim that hands each call to the
// node's agent. See package cni/shim. With --version it prints its build; a runtime
// gives no arguments.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"fairlead.dev/fairlead/cni/shim"
)

// build is set by the linker: -X main.build=… (see the Makefile).
var build = "dev"

func main() { os.Exit(run()) }

func run() int {
	if slices.Equal(os.Args[1:], []string{"--version"}) {
		fmt.Println("fairlead version", build)
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	config, err := shim.OwnConfig()
	return shim.Shim{
		Config: config, ConfigErr: err,
		Getenv: os.Getenv, Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Build: build, Now: time.Now,
	}.Run(ctx)
}
