package sandbox

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"fairlead.dev/fairlead/pkg/network"
)

// The memory of all Attaches at once, in bytes (security S7). docs/design/memory.md has the sum.
const (
	// SmallAttach is the cost up to which an Attach never waits: six networks of the usual
	// size. There are as many at once as the kubelet starts pods.
	SmallAttach = 256 << 10
	// LargeAttaches bounds all others together, and attachShare those of one namespace: a
	// program may hang, and whoever owns the namespace may have chosen it.
	LargeAttaches = 64 << 20
	attachShare   = LargeAttaches / 2
	// RecordCopies is how many copies of a record's text a release has: the text, its values,
	// and the text that is written. Releases do not wait, since a record is bounded.
	RecordCopies = 3

	// An annotation above largeAnnotation bytes is not even parsed before its turn, and counts
	// as much as a namespace may have. In JSON, every byte may become 50.
	largeAnnotation = 4 << 10

	attachCost  = 64 << 10 // of an Attach without networks
	networkCost = 16 << 10 // of a network besides its config
	configCost  = 4        // copies of a config: resolved, prepared, recorded, and written
)

// turns has large Attaches wait for each other, within their deadlines, so that the limit of
// the agent's memory holds whatever tenants write. Nobody waits for a turn who holds one, nor
// does a sandbox that is waiting have a record that others may wait for.
type turns struct {
	all *semaphore.Weighted

	mu         sync.Mutex // guards the rest
	namespaces map[string]*tenantShare
}

// tenantShare is the part of one namespace.
type tenantShare struct {
	places *semaphore.Weighted
	users  int
}

func newTurns() *turns {
	return &turns{all: semaphore.NewWeighted(LargeAttaches), namespaces: map[string]*tenantShare{}}
}

// take waits for a turn until ctx ends. The returned function ends the turn.
func (t *turns) take(ctx context.Context, namespace string, cost int) (end func(), err error) {
	if cost <= SmallAttach {
		return func() {}, nil
	}
	weight := int64(min(cost, attachShare)) // the largest of all has its namespace's part for itself
	own := t.join(namespace)
	if own.places.Acquire(ctx, weight) != nil {
		t.part(namespace, own)
		return nil, context.Cause(ctx)
	}
	if t.all.Acquire(ctx, weight) != nil {
		own.places.Release(weight)
		t.part(namespace, own)
		return nil, context.Cause(ctx)
	}
	return func() {
		t.all.Release(weight)
		own.places.Release(weight)
		t.part(namespace, own)
	}, nil
}

func (t *turns) join(namespace string) *tenantShare {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, ok := t.namespaces[namespace]
	if !ok {
		own = &tenantShare{places: semaphore.NewWeighted(attachShare)}
		t.namespaces[namespace] = own
	}
	own.users++
	return own
}

func (t *turns) part(namespace string, own *tenantShare) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.namespaces, namespace)
	}
}

// turn is the turn of one Attach.
type turn struct {
	turns *turns
	ended func()
}

// take waits until an Attach of the cost may go on.
func (t *turn) take(ctx context.Context, namespace string, cost int) error {
	if t.ended != nil {
		return nil // it has the largest turn already
	}
	end, err := t.turns.take(ctx, namespace, cost)
	if err != nil {
		return fail("wait for other pods with large networks", TryAgain, err)
	}
	if cost > SmallAttach {
		t.ended = end
	}
	return nil
}

func (t *turn) end() {
	if t.ended != nil {
		t.ended()
	}
}

// cost estimates the memory of an Attach, before the net-attach-defs are looked up.
func (p planner) cost(all []network.Selection) int {
	cost := attachCost
	for _, s := range all {
		cost += networkCost + configCost*p.o.Cluster.NetAttachDefSize(s.Namespace, s.Name)
	}
	return cost
}

// takeTurnToParse waits for the turn of a pod whose annotations are large.
func (p planner) takeTurnToParse(ctx context.Context, pod network.Pod, t *turn) error {
	if len(pod.Annotations[network.NetworksAnnotation])+len(pod.Annotations[network.DefaultNetworkAnnotation]) <= largeAnnotation {
		return nil
	}
	return t.take(ctx, pod.Namespace, attachShare)
}
