package link

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/retry"
)

// UseTable answers from memory which links are in use; see Handle.Uses for the rule.
//
// The kernel queues a message about each change in the table's socket while it makes the
// change. Each answer reads these messages first, so it is as current as a listing. If
// messages were lost, it reads everything again.
//
// The kernel announces two changes late. An IPv6 address without duplicate address
// detection is announced only when the link is up. A new lifetime of an IPv6 address during
// the detection is announced when the detection ends. Reread sees both at once.
type UseTable struct {
	dumps   *conn
	events  *conn
	changed chan struct{}

	mu    sync.Mutex // guards the fields below, and the reading of events
	table *useTable
	uses  map[int]Use // made from table; nil if table has changed since
	stale bool        // table may lack changes, and has to be read again
}

// WatchUse reads which links of the caller's namespace are in use, and follows the changes
// until ctx ends.
func WatchUse(ctx context.Context) (*UseTable, error) {
	events, err := subscribe(unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, wrap("watch", "the use of links", err)
	}
	dumps, err := dial()
	if err != nil {
		events.close()
		return nil, wrap("watch", "the use of links", err)
	}
	t := &UseTable{dumps: dumps, events: events, changed: make(chan struct{}, 1), table: &useTable{}, stale: true}
	if err := t.refresh(); err != nil {
		t.close()
		return nil, wrap("watch", "the use of links", err)
	}
	stop := context.AfterFunc(ctx, events.close) // wakes follow
	go func() {                                  // ends when ctx ends or the socket fails
		defer close(t.changed)
		defer t.close()
		defer stop()
		t.follow(ctx)
	}()
	return t, nil
}

func (t *UseTable) close() {
	t.events.close()
	t.dumps.close()
}

// Changed returns a channel for one reader. It gets a value at first, and after the use of
// links has changed: several changes may share one value. It is closed when the watch ends.
func (t *UseTable) Changed() <-chan struct{} { return t.changed }

// All returns the links that are in use, by ifindex. The caller must not change the map.
func (t *UseTable) All() (map[int]Use, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(); err != nil {
		return nil, wrap("read", "the use of links", err)
	}
	if t.uses == nil {
		t.uses = t.table.all()
	}
	return t.uses, nil
}

// Of returns the use of one link. If there is no such link, the error is ErrNotFound.
func (t *UseTable) Of(index int) (Use, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(); err != nil {
		return Use{}, wrap("read", "the use of links", err)
	}
	return t.table.of(index)
}

// Reread reads everything again.
func (t *UseTable) Reread() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stale = true
	return wrap("read", "the use of links", t.refresh())
}

// followRetry is the pause after a failure to read the table.
const followRetry = time.Second

func (t *UseTable) follow(ctx context.Context) {
	for t.events.await() == nil {
		t.mu.Lock()
		err := t.refresh()
		t.mu.Unlock()
		if err == nil {
			continue
		}
		t.signal() // the reader's next call gets the error
		_ = retry.Sleep(ctx, followRetry)
	}
}

func (t *UseTable) signal() {
	select {
	case t.changed <- struct{}{}:
	default: // the reader has not received the last signal yet
	}
}

// refresh applies all messages that have arrived.
func (t *UseTable) refresh() error {
	var sum change
	for {
		datagram, err := t.events.receiveNow()
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if errors.Is(err, unix.ENOBUFS) { // the kernel dropped messages
			t.stale = true
			continue
		}
		if err != nil {
			return err
		}
		for m := messagesOf(datagram); !t.stale && m.next(); {
			c, err := t.table.apply(m.header.Type, m.payload)
			t.stale = t.stale || err != nil
			sum.use, sum.defaults = sum.use || c.use, sum.defaults || c.defaults
		}
	}
	return t.finish(sum)
}

// finish reads the parts of the table again that the messages have left incomplete.
func (t *UseTable) finish(sum change) error {
	switch {
	case t.stale:
		if err := t.reread(); err != nil {
			return err
		}
		sum.use = true
	case sum.defaults:
		t.stale = true // if this fails
		if err := dumpDefaultRoutes(t.dumps, t.table); err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		sum.use = true
	}
	t.stale = false
	if sum.use {
		t.uses = nil
		t.signal()
	}
	return nil
}

// reread replaces the table. Messages that arrive meanwhile are applied to the new table,
// which may contain their changes already. The last message is always as new as the table.
func (t *UseTable) reread() error {
	fresh, err := readUse(t.dumps)
	if err != nil {
		return err
	}
	t.table = fresh
	return nil
}
