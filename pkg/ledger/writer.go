package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"sync"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// writer commits changes. A commit waits for the disk twice. Changes that arrive during a
// commit are committed together in the next one. So a burst of pods waits for a few
// commits instead of one commit per pod, and a single change waits for nobody.
type writer struct {
	db     *bolt.DB
	staged *index // used by run only: includes the changes that are being committed

	queueMu sync.Mutex // guards queue, closed and broken
	queue   []*change
	closed  bool
	broken  error         // set when bbolt has panicked, and never reset
	wake    chan struct{} // has room for one: something is queued; closed by close
	ended   chan struct{} // closed when run has ended

	mu      sync.RWMutex               // guards index and written
	index   *index                     // of the durable records only
	written map[string]json.RawMessage // sandbox id → a status that is on the pod, but also still on record

	watchers watchers
}

func newWriter(db *bolt.DB) *writer {
	return &writer{
		db: db, wake: make(chan struct{}, 1), ended: make(chan struct{}), staged: newIndex(), index: newIndex(),
		written: map[string]json.RawMessage{}, watchers: watchers{all: map[*watcher]struct{}{}},
	}
}

type change struct {
	apply func(*batch) error // may be called more than once
	done  chan error         // buffered; gets the outcome
}

// Errors that roll a transaction back.
var (
	errNoChange = errors.New("nothing to write")
	errHalfDone = errors.New("a change has failed halfway")
)

// update makes a change durable. It returns an error of apply unchanged. On an error the
// change has not happened.
func (w *writer) update(apply func(*batch) error) error {
	c := &change{apply: apply, done: make(chan error, 1)}
	w.queueMu.Lock()
	if err := w.refuses(); err != nil {
		w.queueMu.Unlock()
		return err
	}
	w.queue = append(w.queue, c)
	select {
	case w.wake <- struct{}{}:
	default: // awake
	}
	w.queueMu.Unlock()
	return <-c.done
}

// refuses returns an error if the writer takes no more changes. The caller holds queueMu.
func (w *writer) refuses() error {
	if w.closed {
		return bolterrors.ErrDatabaseNotOpen
	}
	return w.broken
}

// run commits changes until close.
func (w *writer) run() {
	defer close(w.ended)
	// bbolt maps the file into memory. If the file is truncated, a read is a SIGBUS, which
	// commitQueue handles like a panic.
	debug.SetPanicOnFault(true)
	for range w.wake {
		w.commitQueue()
	}
	w.queueMu.Lock()
	broken := w.broken
	w.queueMu.Unlock()
	if broken == nil && len(w.writtenStatuses()) > 0 {
		w.commitQueue() // otherwise the next agent would write these statuses again
	}
}

// commitQueue commits all changes in the queue.
func (w *writer) commitQueue() {
	w.queueMu.Lock()
	changes := w.queue
	w.queue = nil
	w.queueMu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			w.giveUp(changes, fmt.Errorf("%w: %v; restart the agent: it reports the damage when it opens the file", ErrDamaged, p))
		}
	}()
	for again := true; again; {
		changes, again = w.commit(changes)
	}
}

// giveUp answers all waiting callers, and makes later ones fail at once. bbolt panics if
// the file is damaged, and may then keep its locks: a later transaction would hang.
func (w *writer) giveUp(changes []*change, why error) {
	w.queueMu.Lock()
	w.broken = why
	changes = append(changes, w.queue...)
	w.queue = nil
	w.queueMu.Unlock()
	for _, c := range changes {
		select {
		case c.done <- why:
		default: // it has been answered already
		}
	}
}

// commit commits the changes and answers them. If one has failed halfway, it returns the
// others, which have to be tried again.
func (w *writer) commit(changes []*change) (rest []*change, again bool) {
	b := &batch{index: w.staged}
	committed := false
	defer func() { // also if bbolt panics
		if !committed {
			b.revert()
		}
	}()
	written := w.writtenStatuses()
	var applied []*change
	err := w.db.Update(func(tx *bolt.Tx) (err error) {
		b.tx = tx
		if applied, rest, err = b.applyAll(changes); err != nil {
			return err
		}
		if err := b.statusesWritten(written); err != nil {
			return err
		}
		if b.writes == 0 {
			return errNoChange
		}
		return nil
	})
	switch {
	case err == nil:
		committed = true
		w.publish(b.edits, written)
	case errors.Is(err, errHalfDone):
		return rest, true
	case errors.Is(err, errNoChange):
		err = nil
	}
	for _, c := range applied {
		c.done <- describe(err)
	}
	return nil, false
}

// applyAll applies changes and answers those that fail. If one fails halfway, its writes
// must not be committed: applyAll stops with errHalfDone and returns all others as rest.
func (b *batch) applyAll(changes []*change) (applied, rest []*change, err error) {
	for i, c := range changes {
		before := b.writes
		err := c.apply(b)
		if err == nil {
			applied = append(applied, c)
			continue
		}
		c.done <- describe(err)
		if b.writes > before {
			return nil, append(applied, changes[i+1:]...), errHalfDone
		}
	}
	return applied, nil, nil
}

func (w *writer) writtenStatuses() map[string]json.RawMessage {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return maps.Clone(w.written)
}

// publish makes committed changes visible to readers.
func (w *writer) publish(edits []edit, written map[string]json.RawMessage) {
	w.mu.Lock()
	for _, e := range edits {
		e.apply(w.index)
	}
	for id, status := range written {
		if bytes.Equal(w.written[id], status) {
			delete(w.written, id)
		}
	}
	w.mu.Unlock()
	w.watchers.notify(edits)
}

// close commits the queue and the written statuses, and closes the file.
func (w *writer) close() error {
	w.queueMu.Lock()
	if !w.closed {
		w.closed = true
		close(w.wake)
	}
	w.queueMu.Unlock()
	<-w.ended
	w.watchers.close()
	if w.broken != nil { // run has ended: nobody changes it any more
		return w.broken
	}
	return w.db.Close()
}

// statusWritten records, in memory, that a status is on the pod.
func (w *writer) statusWritten(id string, status []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.index.sandboxes[id]; e != nil && len(status) > 0 && bytes.Equal(e.status, status) {
		w.written[id] = status
	}
}

func (w *writer) writtenStatus(id string) json.RawMessage {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.written[id]
}

// current returns an entry as readers see it. The caller holds mu.
func (w *writer) current(e *entry) Entry {
	out := e.Entry
	out.OwesStatus = len(e.status) > 0 && !bytes.Equal(e.status, w.written[e.ID])
	return out
}
