package sandbox

import (
	"context"
	"sync"
)

const (
	// laneWidth is how many sandboxes of one namespace may run programs at a time
	// without a call for it.
	laneWidth = 2
	// lanesWidth is the same for all namespaces together.
	lanesWidth = 16
)

// lanes gives each namespace its share of the programs that are run without a call. A
// program may hang, and who owns the namespace may have chosen it: it then delays only
// that namespace.
type lanes struct {
	all chan struct{}

	mu    sync.Mutex // guards what follows
	lanes map[string]*lane
}

type lane struct {
	places chan struct{}
	users  int
}

func newLanes() *lanes {
	return &lanes{all: make(chan struct{}, lanesWidth), lanes: map[string]*lane{}}
}

// enter waits for a place, until ctx ends. The returned function gives it up.
func (l *lanes) enter(ctx context.Context, namespace string) (leave func(), err error) {
	own := l.join(namespace)
	if err := take(ctx, own.places); err != nil {
		l.part(namespace, own)
		return nil, err
	}
	if err := take(ctx, l.all); err != nil {
		<-own.places
		l.part(namespace, own)
		return nil, err
	}
	return func() {
		<-l.all
		<-own.places
		l.part(namespace, own)
	}, nil
}

func take(ctx context.Context, places chan struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *lanes) join(namespace string) *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, ok := l.lanes[namespace]
	if !ok {
		own = &lane{places: make(chan struct{}, laneWidth)}
		l.lanes[namespace] = own
	}
	own.users++
	return own
}

func (l *lanes) part(namespace string, own *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(l.lanes, namespace)
	}
}
