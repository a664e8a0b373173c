package main

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// pods is the list of the soak's pods at the API server, which one loop keeps up to date
// for everybody. While the API server does not answer, it stays as it was.
type pods struct {
	api kubernetes.Interface

	mu     sync.Mutex // guards the rest
	byName map[string]corev1.Pod
	read   time.Time
	errors int
}

// watch reads the list each second until ctx ends.
func (p *pods) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		p.refresh(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *pods) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	began := time.Now()
	list, err := p.api.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.errors++
		return
	}
	p.byName, p.read = map[string]corev1.Pod{}, began
	for _, pod := range list.Items {
		p.byName[pod.Name] = pod
	}
}

// get returns a pod. found is false if the list, read after since, does not have it;
// known is false if the list is older.
func (p *pods) get(name string, since time.Time) (pod corev1.Pod, found, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod, found = p.byName[name]
	return pod, found, p.read.After(since)
}

// all returns the pods of the last list.
func (p *pods) all() []corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]corev1.Pod, 0, len(p.byName))
	for _, pod := range p.byName {
		list = append(list, pod)
	}
	return list
}

// fresh waits until the list is younger than this call.
func (p *pods) fresh(ctx context.Context) error {
	since := time.Now()
	for {
		if _, _, known := p.get("", since); known {
			return nil
		}
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
