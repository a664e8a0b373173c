package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits of one pod. A kubelet or an agent may be away for a part of the time.
const (
	startLimit = 4 * time.Minute
	goneLimit  = 4 * time.Minute
	failTime   = 15 * time.Second // how long a pod that fails on purpose may try
)

// workload makes pods come and go.
type workload struct {
	pods   *pods
	tally  *tally
	number atomic.Int64 // of the last pod

	mu    sync.Mutex               // guards the rest
	free  map[int]map[string]int64 // node → resource → devices that no pod of the workload asks for
	plans map[string]plan          // pods by name, also those that are gone
}

// newWorkload leaves devices for the anchors and the Deployment.
func newWorkload(p *pods, t *tally) *workload {
	return &workload{pods: p, tally: t, plans: map[string]plan{},
		free: map[int]map[string]int64{1: {"fast": 3, "dpdk": 2, "second": 2}, 2: {"fast": 1}}}
}

// work runs one pod after another on a node until ctx ends. The last pod is complete.
func (w *workload) work(ctx context.Context, node int, random *rand.Rand) {
	for ctx.Err() == nil {
		p := w.choose(node, random)
		w.run(ctx, p, random)
		w.giveBack(p)
		if pause(ctx, time.Duration(random.IntN(2000))*time.Millisecond) != nil {
			return
		}
	}
}

// choose picks a kind that the node's free devices allow.
func (w *workload) choose(node int, random *rand.Rand) plan {
	w.mu.Lock()
	defer w.mu.Unlock()
	var possible []kind
	for _, k := range kinds() {
		if w.fits(k, node) {
			possible = append(possible, k)
		}
	}
	p := newPlan(possible[random.IntN(len(possible))], node, int(w.number.Add(1)))
	for resource, n := range p.Kind.needs {
		w.free[node][resource] -= n
	}
	w.plans[p.Name] = p
	return p
}

func (w *workload) fits(k kind, node int) bool {
	for resource, n := range k.needs {
		if w.free[node][resource] < n {
			return false
		}
	}
	for _, n := range k.nodes {
		if n == node {
			return true
		}
	}
	return false
}

func (w *workload) giveBack(p plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for resource, n := range p.Kind.needs {
		w.free[p.Node][resource] += n
	}
}

// keep remembers the plan of a pod that the workload did not choose.
func (w *workload) keep(p plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plans[p.Name] = p
}

// planOf returns the plan of a pod: its own, or its Deployment's.
func (w *workload) planOf(pod corev1.Pod) (plan, bool) {
	if owner := pod.Labels[deploymentLabel]; owner != "" {
		for _, d := range deployments() {
			if d.plan.Name == owner {
				return d.plan, true
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.plans[pod.Name]
	return p, ok
}

// run makes a pod, waits for its fate and deletes it. The end of the run cuts its time
// short, but never its deletion.
func (w *workload) run(ctx context.Context, p plan, random *rand.Rand) {
	if !w.create(ctx, p) {
		return
	}
	began := time.Now()
	switch {
	case p.Kind.fails:
		w.tally.count("failed on purpose", w.mustFail(ctx, p))
	case random.IntN(6) == 0:
		w.tally.count("deleted while starting", p.Kind.name)
		_ = pause(ctx, time.Duration(random.IntN(9000))*time.Millisecond)
	default:
		reason := w.awaitReady(ctx, p)
		if reason == "" {
			w.tally.started(p.Kind.name, time.Since(began))
			_ = pause(ctx, time.Duration(2000+random.IntN(18000))*time.Millisecond)
		} else {
			w.tally.count("not started", reason)
		}
	}
	w.delete(context.WithoutCancel(ctx), p, random.IntN(6) == 0)
}

// create asks the API server again until it answers.
func (w *workload) create(ctx context.Context, p plan) bool {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 40*time.Second)
		_, err := w.pods.api.CoreV1().Pods(namespace).Create(call, p.object(), metav1.CreateOptions{})
		cancel()
		if err == nil || apierrors.IsAlreadyExists(err) {
			return true
		}
		w.tally.count("API errors", "create")
		_ = pause(ctx, time.Second)
	}
	// The answer may have been lost.
	w.delete(context.WithoutCancel(ctx), p, false)
	return false
}

// awaitReady returns why the pod does not start, or nothing if it is ready.
func (w *workload) awaitReady(ctx context.Context, p plan) string {
	created := time.Now()
	for time.Since(created) < startLimit {
		pod, found, _ := w.pods.get(p.Name, created)
		switch {
		case found && ready(pod):
			return ""
		case found && pod.Status.Phase == corev1.PodFailed:
			return pod.Status.Reason
		case pause(ctx, 500*time.Millisecond) != nil:
			return "the run ended"
		}
	}
	w.tally.discrepancy("not started: pod %s is not ready after %s: %s", p.Name, startLimit, w.lastEvent(ctx, p.Name))
	return "not in time"
}

// mustFail watches a pod that must not start.
func (w *workload) mustFail(ctx context.Context, p plan) string {
	began := time.Now()
	for time.Since(began) < failTime {
		if pod, found, _ := w.pods.get(p.Name, began); found && ready(pod) {
			w.tally.discrepancy("started: pod %s (%s) is ready, and should not start", p.Name, p.annotation())
			return p.Kind.name
		}
		if pause(ctx, 500*time.Millisecond) != nil {
			break
		}
	}
	return p.Kind.name
}

// delete deletes a pod and waits until the API server no longer has it.
func (w *workload) delete(ctx context.Context, p plan, force bool) {
	var options metav1.DeleteOptions
	if force {
		now := int64(0)
		options.GracePeriodSeconds = &now
		w.tally.count("deletions", "forced")
	} else {
		w.tally.count("deletions", "graceful")
	}
	began := time.Now()
	for time.Since(began) < goneLimit {
		call, cancel := context.WithTimeout(ctx, 40*time.Second)
		asked := time.Now()
		err := w.pods.api.CoreV1().Pods(namespace).Delete(call, p.Name, options)
		cancel()
		if apierrors.IsNotFound(err) {
			return
		}
		for err == nil && time.Since(asked) < 30*time.Second {
			if _, found, known := w.pods.get(p.Name, asked); known && !found {
				w.tally.gone(time.Since(began))
				return
			}
			_ = pause(ctx, 500*time.Millisecond)
		}
		_ = pause(ctx, time.Second)
	}
	w.tally.discrepancy("not gone: pod %s is in the API %s after its deletion: %s", p.Name, goneLimit, w.lastEvent(ctx, p.Name))
}

// lastEvent returns the newest event of a pod, for a person.
func (w *workload) lastEvent(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	list, err := w.pods.api.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return err.Error()
	}
	text, last := "it has no events", time.Time{}
	for _, e := range list.Items {
		if at := e.LastTimestamp.Time; !at.Before(last) {
			text, last = fmt.Sprintf("%s: %s", e.Reason, e.Message), at
		}
	}
	return text
}
