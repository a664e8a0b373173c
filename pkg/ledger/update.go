package ledger

import (
	"fmt"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// writer commits changes. A commit waits for the disk twice; what is asked for
// meanwhile is committed together in the next one, so that a burst of pods costs a
// few waits and not one per pod, and a single change waits for nobody.
type writer struct {
	db     *bolt.DB
	commit sync.Mutex // held by the one who commits
	mu     sync.Mutex // guards queue
	queue  []*change
}

type change struct {
	apply func(*bolt.Tx) error // may be called more than once
	done  chan error           // has room for the outcome
}

// update makes a change durable. An error of apply is returned as it is, and the
// change has then not happened.
func (w *writer) update(apply func(*bolt.Tx) error) error {
	c := &change{apply: apply, done: make(chan error, 1)}
	w.mu.Lock()
	w.queue = append(w.queue, c)
	w.mu.Unlock()

	w.commitQueue()
	return <-c.done
}

func (w *writer) commitQueue() {
	w.commit.Lock()
	defer w.commit.Unlock()
	w.mu.Lock()
	batch := w.queue // empty where an earlier committer took what there was along
	w.queue = nil
	w.mu.Unlock()
	// The file's code panics where the file is damaged. All who wait get an answer: one
	// who does not would wait for ever, and so would all after it.
	defer func() {
		if p := recover(); p != nil {
			for _, c := range batch {
				select {
				case c.done <- describe(fmt.Errorf("panic: %v", p)):
				default: // it has its answer
				}
			}
		}
	}()
	w.run(batch)
}

// run commits a batch. A change that fails leaves it, and the others begin anew:
// its traces must not be committed with theirs.
func (w *writer) run(batch []*change) {
	for len(batch) > 0 {
		failed := -1
		err := w.db.Update(func(tx *bolt.Tx) error {
			failed = -1
			for i, c := range batch {
				if err := c.apply(tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 {
			for _, c := range batch {
				c.done <- describe(err)
			}
			return
		}
		batch[failed].done <- describe(err)
		batch = append(batch[:failed:failed], batch[failed+1:]...)
	}
}
