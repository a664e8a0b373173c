package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/retry"
)

// plugger makes the interfaces of running pods follow their annotations.
type plugger struct {
	o        Options
	locks    *locks
	turns    *turns
	planner  planner
	reserver reserver
	binder   binder
	releaser *releaser
	statuses *statuses
	programs programs
	log      *slog.Logger
	wake     signal

	mu     sync.Mutex // guards what follows
	queue  map[podName]time.Time
	failed map[string]plugFailure // by sandbox
}

// podName is a pod as the API server names it. A static pod has another UID there than on
// the node.
type podName struct{ namespace, name string }

// plugFailure is an annotation that could not be followed.
type plugFailure struct {
	annotation string
	text       string
	attempts   int
}

// plugTimeout bounds one try to follow an annotation. A DEL of the pod waits that long.
const plugTimeout = 60 * time.Second

// plugWidth is how many pods are changed at a time.
const plugWidth = 4

// fingerprint identifies the networks annotation of a pod.
func fingerprint(pod network.Pod) string {
	sum := sha256.Sum256([]byte(pod.Annotations[network.NetworksAnnotation]))
	return hex.EncodeToString(sum[:8])
}

func (p *plugger) enqueue(pod podName, at time.Time) {
	p.mu.Lock()
	p.queue[pod] = at
	p.mu.Unlock()
	p.wake.kick()
}

func (p *plugger) loop(ctx context.Context) { loop(ctx, p.wake, p.round) }

// round visits the pods that are due, a few at a time.
func (p *plugger) round(ctx context.Context) (next time.Duration, again bool) {
	due := p.takeDue()
	var (
		group sync.WaitGroup
		width = make(chan struct{}, plugWidth)
	)
	for _, e := range p.o.Ledger.Entries() {
		pod := podName{e.Pod.Namespace, e.Pod.Name}
		if !due[pod] || e.Releasing || e.EarlierBoot || e.Annotation == "" {
			continue
		}
		width <- struct{}{}
		group.Go(func() { // bounded by plugTimeout
			defer func() { <-width }()
			p.visit(ctx, e, pod)
		})
	}
	group.Wait()
	return p.nextDue()
}

func (p *plugger) takeDue() map[podName]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	due, now := map[podName]bool{}, p.o.Now()
	for pod, at := range p.queue {
		if !at.After(now) {
			due[pod] = true
			delete(p.queue, pod)
		}
	}
	return due
}

func (p *plugger) nextDue() (pause time.Duration, again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.queue {
		if until := at.Sub(p.o.Now()); !again || until < pause {
			pause, again = until, true
		}
	}
	return pause, again
}

// visit follows the annotation of one pod, and comes back after a failure.
func (p *plugger) visit(ctx context.Context, e ledger.Entry, name podName) {
	ctx, cancel := context.WithTimeout(ctx, plugTimeout)
	defer cancel()
	pod, err := p.o.Cluster.Pod(ctx, e.Pod.Namespace, e.Pod.Name, e.Pod.UID)
	if errors.Is(err, network.ErrNotFound) || err == nil && pod.Terminal {
		p.forget(e.ID)
		return
	}
	if err == nil {
		if fingerprint(pod) == e.Annotation && !e.Hotplug {
			p.forget(e.ID)
			return
		}
		err = p.follow(ctx, e.ID, pod)
	}
	if err == nil {
		p.forget(e.ID)
		return
	}
	if pause, again := p.noteFailure(e, fingerprint(pod), err); again {
		p.enqueue(name, p.o.Now().Add(pause))
	}
}

// noteFailure reports a failure once, and returns the pause before the next try. An error
// that only another annotation can mend is not tried again.
func (p *plugger) noteFailure(e ledger.Entry, annotation string, err error) (pause time.Duration, again bool) {
	if errors.Is(err, errBusy) {
		return time.Second, true
	}
	p.mu.Lock()
	was := p.failed[e.ID]
	now := plugFailure{annotation: annotation, text: err.Error(), attempts: 1}
	if was.annotation == annotation {
		now.attempts = was.attempts + 1
	}
	p.failed[e.ID] = now
	p.mu.Unlock()
	if was.annotation != annotation || was.text != now.text {
		p.log.Error("following a pod's changed annotation failed", "pod", e.Pod.String(), "sandbox", e.ID, "error", err)
		p.o.Cluster.Event(e.Pod, "Warning", "InterfacesNotChanged",
			fmt.Sprintf("the pod's interfaces do not follow its annotation %s: %s", network.NetworksAnnotation, TenantText(err)))
	}
	var wrong *network.SelectionError
	return retry.Backoff{First: firstRetry, Max: maxRetry}.After(now.attempts), !errors.As(err, &wrong)
}

func (p *plugger) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failed, id)
}
