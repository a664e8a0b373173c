package main

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/test/lab/client"
)

const (
	samplePause = 10 * time.Second
	secondLook  = 6 * time.Second // before a finding counts: a sample takes a second, in which a pod may go
	sampleLimit = 90 * time.Second
)

// sampler compares the nodes with the pods again and again.
type sampler struct {
	lab       *client.Lab
	work      *workload
	tally     *tally
	functions map[string]map[string]function // node → PCI address → place
}

// run takes samples until ctx ends.
func (s *sampler) run(ctx context.Context) {
	for pause(ctx, samplePause) == nil {
		found := s.look(ctx)
		if len(found) == 0 || pause(ctx, secondLook) != nil {
			continue
		}
		for _, text := range s.look(ctx) {
			if slices.Contains(found, text) {
				s.tally.discrepancy("%s", text)
			}
		}
	}
}

// look takes one sample of all nodes and returns everything that is wrong with it.
func (s *sampler) look(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	before := s.work.pods.all()
	samples := s.samples(ctx)
	if len(samples) < len(s.lab.Nodes()) || s.work.pods.fresh(ctx) != nil {
		s.tally.count("samples", "incomplete")
		return nil
	}
	s.tally.count("samples", "complete")
	names := map[string]string{}
	var found []string
	for _, pod := range before {
		names[string(pod.UID)] = pod.Name
		if p, ok := s.work.planOf(pod); ok && s.stillReady(pod) {
			node := pod.Spec.NodeName
			found = append(found, asAsked(p, pod, samples[node], s.functions[node])...)
			s.tally.count("samples of pods", p.Kind.name)
		}
	}
	return append(found, twice(samples, names)...)
}

// stillReady reports whether a pod is ready before and after the sample.
func (s *sampler) stillReady(before corev1.Pod) bool {
	after, found, _ := s.work.pods.get(before.Name, epoch)
	return found && after.UID == before.UID && ready(before) && ready(after)
}

// samples reads all nodes side by side, and notes the figures of their agents.
func (s *sampler) samples(ctx context.Context) map[string]sample {
	var mu sync.Mutex // guards all
	all := map[string]sample{}
	var wg sync.WaitGroup
	for _, node := range s.lab.Nodes() {
		wg.Go(func() {
			one, err := takeSample(ctx, s.lab, node)
			if err != nil {
				s.tally.say("%s: %v", node, err)
				return
			}
			s.tally.addCalls(one.calls)
			for _, a := range one.agents {
				s.tally.agent(node, a)
			}
			mu.Lock()
			defer mu.Unlock()
			all[node] = one
		})
	}
	wg.Wait()
	return all
}
