package custody

import (
	"sync"
	"sync/atomic"
)

// published has the latest View and its subscribers.
type published struct {
	current atomic.Pointer[View]

	// mu guards subscribers and the making of Views. It is held while a source is read
	// into a View, so that an older reading never replaces a newer one.
	mu          sync.Mutex
	subscribers map[chan *View]struct{}
}

func newPublished(first *View) *published {
	p := &published{subscribers: map[chan *View]struct{}{}}
	p.current.Store(first)
	return p
}

func (p *published) view() *View { return p.current.Load() }

func (p *published) subscribe() (views <-chan *View, cancel func()) {
	ch := make(chan *View, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscribers[ch] = struct{}{}
	ch <- p.current.Load()
	return ch, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if _, ok := p.subscribers[ch]; ok {
			delete(p.subscribers, ch)
			close(ch)
		}
	}
}

// update publishes a View with some parts replaced. Change gets a copy of the last View.
// It replaces maps instead of writing into them, and returns false if nothing is new.
func (p *published) update(change func(next *View) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := *p.current.Load()
	if !change(&next) {
		return
	}
	p.current.Store(&next)
	for ch := range p.subscribers {
		select {
		case <-ch: // the reader is slow: it gets only the newest
		default:
		}
		ch <- &next
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
