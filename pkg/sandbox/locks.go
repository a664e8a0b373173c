package sandbox

import (
	"context"
	"sync"
)

// locks is a set of locks by name: sandbox ids, and devices during reservation.
type locks struct {
	mu   sync.Mutex // guards held
	held map[string]*heldLock
}

type heldLock struct {
	token   chan struct{} // holds one token while the lock is free
	waiters int           // and the holder
}

func newLocks() *locks { return &locks{held: map[string]*heldLock{}} }

// lock waits for the lock until ctx ends. The returned function releases it.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	h := l.enter(name)
	select {
	case <-h.token:
		return func() { h.token <- struct{}{}; l.leave(name, h) }, nil
	case <-ctx.Done():
		l.leave(name, h)
		return nil, context.Cause(ctx)
	}
}

// tryLock takes the lock if it is free.
func (l *locks) tryLock(name string) (unlock func(), ok bool) {
	h := l.enter(name)
	select {
	case <-h.token:
		return func() { h.token <- struct{}{}; l.leave(name, h) }, true
	default:
		l.leave(name, h)
		return nil, false
	}
}

func (l *locks) enter(name string) *heldLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.held[name]
	if !ok {
		h = &heldLock{token: make(chan struct{}, 1)}
		h.token <- struct{}{}
		l.held[name] = h
	}
	h.waiters++
	return h
}

func (l *locks) leave(name string, h *heldLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.waiters--; h.waiters == 0 {
		delete(l.held, name)
	}
}
