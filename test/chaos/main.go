// Command chaos is a soak on the running lab: pods of all kinds come and go on both nodes
// while agents, shims, kubelets, containerds and the API server are killed or stopped at
// random moments. Meanwhile samples of the nodes' kernels are compared with the pods:
// nothing may be at two of them, and each must have the links that it asks for. At the end
// kernel, files, ledger, kubelet and API must be as before. The reading is the soak's own,
// by ip, /proc, /sys and the ledger's file. The exit code is 1 if something is wrong.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/scenario"
)

func main() { os.Exit(run()) }

type options struct {
	length, settle time.Duration
	seed           uint64
	installed      bool
	workers        int
}

func run() int {
	var o options
	flag.DurationVar(&o.length, "for", 15*time.Minute, "how long pods come and go")
	flag.DurationVar(&o.settle, "settle", 5*time.Minute, "how long the cluster may take to be as before")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of all random choices; default: another each time")
	flag.BoolVar(&o.installed, "installed", false, "use the Fairlead that is in the lab already")
	flag.IntVar(&o.workers, "workers", 3, "how many pods come and go at a time on each node, besides those of Deployments")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	wrong, err := soak(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || wrong > 0 {
		return 1
	}
	return 0
}

// soak runs it and returns the number of discrepancies.
func soak(ctx context.Context, o options) (int, error) {
	began := time.Now()
	say := func(format string, args ...any) {
		seconds := int(time.Since(began).Seconds())
		fmt.Printf("[%3d:%02d] %s\n", seconds/60, seconds%60, fmt.Sprintf(format, args...))
	}
	if err := client.Reserve(ctx, "the soak", func(who string) { say("the lab is in use by %s; waiting for its end", who) }); err != nil {
		return 0, err
	}
	lab, err := client.Open()
	if err != nil {
		return 0, err
	}
	cluster, err := scenario.NewCluster(lab, say)
	if err != nil {
		return 0, err
	}
	say("seed %d", o.seed)
	r, err := newRunner(cluster, o)
	if err != nil {
		return 0, err
	}
	if err := r.prepare(ctx); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, cluster.Diagnose(context.Background(), namespace))
	}
	if err := r.hurtAndWork(ctx); err != nil {
		return 0, err
	}
	if err := r.conclude(ctx); err != nil {
		return 0, err
	}
	return r.report(), nil
}
