package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"text/template"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/fairlead/test/scenario"
)

//go:embed networks.yaml
var networks string

// epoch is before everything.
var epoch time.Time

// runner is one soak.
type runner struct {
	o       options
	c       *scenario.Cluster
	tally   *tally
	pods    *pods
	sampler *sampler
	anchors *anchors
	before  []string
	began   time.Time
	stop    context.CancelFunc // of the list of pods
}

func newRunner(c *scenario.Cluster, o options) (*runner, error) {
	// kubectl would be too slow, and would take the machine's two cores from the nodes.
	config, err := clientcmd.BuildConfigFromFlags("", c.Lab.Kubeconfig())
	if err != nil {
		return nil, err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	t := newTally(c.Say)
	p := &pods{api: api}
	s := &sampler{lab: c.Lab, work: newWorkload(p, t), tally: t, functions: map[string]map[string]function{}}
	return &runner{o: o, c: c, tally: t, pods: p, sampler: s, began: time.Now(), stop: func() {}}, nil
}

// prepare installs Fairlead, reads the cluster, and makes the networks and the anchors.
func (r *runner) prepare(ctx context.Context) error {
	if !r.o.installed {
		if err := r.c.Install(ctx, "."); err != nil {
			return err
		}
	}
	if err := r.putTool(ctx); err != nil {
		return err
	}
	for _, node := range r.c.Lab.Nodes() {
		vfs, err := functions(ctx, r.c.Lab, node)
		if err != nil {
			return err
		}
		r.sampler.functions[node] = vfs
	}
	if err := r.c.Delete(ctx, namespace); err != nil {
		return err
	}
	var err error
	if r.before, err = reading(ctx, r.c.Lab, r.c.Lab.Nodes()); err != nil {
		return err
	}
	var manifest bytes.Buffer
	if err := template.Must(template.New("").Parse(networks)).Execute(&manifest, both); err != nil {
		return err
	}
	if _, err := r.c.Lab.Kubectl(ctx, &manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go r.pods.watch(watching)
	r.c.Say("starting the pods that stay")
	if r.anchors, err = startAnchors(ctx, r.sampler); err != nil {
		return err
	}
	return r.seesPods(ctx)
}

// putTool builds the program that asks a kubelet, and puts it on the nodes.
func (r *runner) putTool(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "podresources")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./test/chaos/podresources")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build podresources: %w\n%s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	for _, node := range r.c.Lab.Nodes() {
		if err := r.c.Lab.Put(ctx, node, "/root/podresources", 0o755, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}

// hurtAndWork is the time with faults.
func (r *runner) hurtAndWork(ctx context.Context) error {
	r.c.Say("for %s pods come and go, and processes are killed", r.o.length)
	ctx, cancel := context.WithTimeout(ctx, r.o.length)
	defer cancel()
	var wg sync.WaitGroup
	failed := make(chan error, 1)
	for i, node := range both {
		for n := range r.o.workers {
			wg.Go(func() { r.sampler.work.work(ctx, node, r.random(100*i+n)) })
		}
	}
	wg.Go(func() {
		if err := r.sampler.work.scale(ctx, r.random(1000)); err != nil {
			failed <- err
			cancel()
		}
	})
	wg.Go(func() { hurt(ctx, r.c.Lab, r.random(1001), r.tally) })
	wg.Go(func() { r.sampler.run(ctx) })
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// random returns the choices of one loop. They follow from the seed, whatever the other
// loops do.
func (r *runner) random(loop int) *rand.Rand { return rand.New(rand.NewPCG(r.o.seed, uint64(loop))) }

// conclude checks the anchors, deletes everything and compares the cluster with the
// start.
func (r *runner) conclude(ctx context.Context) error {
	defer r.stop()
	r.c.Say("no more faults: checking the pods that stayed")
	r.anchors.unchanged(ctx)
	r.c.Say("deleting all pods")
	if err := r.sampler.work.deleteDeployments(ctx); err != nil {
		return err
	}
	r.anchors.delete(ctx)
	began := time.Now()
	for _, text := range r.settle(ctx) {
		r.tally.discrepancy("%s", text)
	}
	r.c.Say("compared after %s", time.Since(began).Round(time.Second))
	for node, s := range r.sampler.samples(ctx) {
		if len(s.agents) != 1 {
			r.tally.discrepancy("%s has %d agents", node, len(s.agents))
		}
	}
	if err := r.countEvents(ctx); err != nil {
		return err
	}
	return r.c.Delete(ctx, namespace)
}

// report prints the figures and returns the number of discrepancies.
func (r *runner) report() int {
	fmt.Printf("\nSOAK of %s, seed %d\n%s", r.o.length, r.o.seed, r.tally.summary())
	wrong := r.tally.discrepancies()
	if len(wrong) == 0 {
		fmt.Println("nothing leaked, nothing twice, every pod as asked")
		return 0
	}
	fmt.Printf("\n%d DISCREPANCIES\n", len(wrong))
	for _, text := range wrong {
		fmt.Println("✗", text)
	}
	return len(wrong)
}
