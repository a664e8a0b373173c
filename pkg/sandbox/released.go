package sandbox

import "sync"

// released remembers the sandboxes that were released last, and those of which nothing
// was made. The kubelet stops a sandbox more than once; without this, each further DEL
// would run the primary's plugins again, for a sandbox of which nothing is left. After
// a restart of the agent nothing is remembered, and such a DEL does a little needless
// work.
type released struct {
	mu    sync.Mutex // guards all
	known map[string]bool
	ring  []string // the known ids, oldest at next once the ring is full
	next  int
}

// maxReleased is several times the number of pods of a node.
const maxReleased = 1024

func (r *released) note(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known[id] {
		return
	}
	if r.known == nil {
		r.known = make(map[string]bool)
	}
	r.known[id] = true
	if len(r.ring) < maxReleased {
		r.ring = append(r.ring, id)
		return
	}
	delete(r.known, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % maxReleased
}

func (r *released) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[id]
}
