// Command fairlead-cni is the CNI plugin "fairlead": a shim that hands each call
// to the node's agent. See package cni/shim.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fairlead.dev/fairlead/cni/shim"
)

// build is set by the linker: -X main.build=…
var build = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return shim.Shim{
		Getenv: os.Getenv, Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Build: build, Now: time.Now,
	}.Run(ctx)
}
