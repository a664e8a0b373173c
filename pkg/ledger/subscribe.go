package ledger

import "sync"

// Change reports a change on disk: of a sandbox's record, or of allocations.
type Change struct {
	SandboxID   string // empty: allocations
	Allocations bool
}

// watchers are the subscribers.
type watchers struct {
	mu     sync.Mutex // guards all and closed
	all    map[*watcher]struct{}
	closed bool
}

// watcher keeps changes until its subscriber receives them. It keeps equal changes once,
// so the queue of a slow subscriber has at most one place for each sandbox.
type watcher struct {
	out    chan Change
	wake   chan struct{} // has room for one: something is queued
	stop   chan struct{} // closed by cancel
	once   sync.Once     // closes stop
	mu     sync.Mutex    // guards queue and queued
	queue  []Change
	queued map[Change]bool
}

// subscribe starts a goroutine that ends with cancel or with the ledger.
func (w *watchers) subscribe() (<-chan Change, func()) {
	s := &watcher{out: make(chan Change), wake: make(chan struct{}, 1), stop: make(chan struct{}), queued: map[Change]bool{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		s.cancel()
	} else {
		w.all[s] = struct{}{}
	}
	go s.run()
	return s.out, func() {
		w.mu.Lock()
		delete(w.all, s)
		w.mu.Unlock()
		s.cancel()
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for s := range w.all {
		s.cancel()
	}
}

func (w *watchers) notify(edits []edit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.all {
		for _, e := range edits {
			s.add(Change{SandboxID: e.sandbox, Allocations: e.sandbox == ""})
		}
	}
}

func (s *watcher) cancel() { s.once.Do(func() { close(s.stop) }) }

func (s *watcher) add(c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued[c] {
		return
	}
	s.queue, s.queued[c] = append(s.queue, c), true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *watcher) next() (Change, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return Change{}, false
	}
	c := s.queue[0]
	s.queue = s.queue[1:]
	delete(s.queued, c)
	return c, true
}

// run sends changes to the subscriber, and closes the channel at the end.
func (s *watcher) run() {
	defer close(s.out)
	for {
		c, ok := s.next()
		if !ok {
			select {
			case <-s.wake:
			case <-s.stop:
				return
			}
			continue
		}
		select {
		case s.out <- c:
		case <-s.stop:
			return
		}
	}
}
