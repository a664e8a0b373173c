package link

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// Event is a change of a link in the subscriber's namespace.
type Event struct {
	Link Link
	Gone bool // it was deleted, or moved to another namespace
	// Lost means that the kernel dropped events because the reader was too slow. Link is
	// not set, and the reader has to read everything again.
	Lost bool
}

// eventBuffer is the socket's, in bytes: enough for every VF of a large NIC to
// come or go at once.
const eventBuffer = 4 << 20

// Subscribe reports link changes in the caller's namespace. When ctx ends or the socket
// fails, it closes the channel.
func Subscribe(ctx context.Context) (<-chan Event, error) {
	c, err := subscribe(unix.RTNLGRP_LINK)
	if err != nil {
		return nil, wrap("subscribe to", "link events", err)
	}
	events := make(chan Event)
	stop := context.AfterFunc(ctx, c.close) // wakes receive
	go func() {                             // ends when ctx ends or the socket fails
		defer close(events)
		defer stop()
		defer c.close()
		report(ctx, c, events)
	}()
	return events, nil
}

// subscribe opens a socket for the messages of groups.
func subscribe(groups ...uint) (*conn, error) {
	c, err := dial(groups...)
	if err != nil {
		return nil, err
	}
	c.makeRoom(true)
	// Only privileged callers may use FORCE. Otherwise the size is capped, and messages are
	// lost sooner.
	_ = c.control(func(fd int) error {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, eventBuffer) == nil {
			return nil
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, eventBuffer)
	})
	return c, nil
}

func report(ctx context.Context, c *conn, events chan<- Event) {
	for {
		datagram, err := c.receive(0)
		if errors.Is(err, unix.ENOBUFS) {
			if !send(ctx, events, Event{Lost: true}) {
				return
			}
			continue
		}
		if err != nil {
			return
		}
		for m := messagesOf(datagram); m.next(); {
			if !aboutLink(m.header.Type, m.payload) {
				continue
			}
			l, err := parse(m.payload)
			e := Event{Link: l, Gone: m.header.Type == unix.RTM_DELLINK}
			if err != nil {
				e = Event{Lost: true}
			}
			if !send(ctx, events, e) {
				return
			}
		}
	}
}

// aboutLink is false for a bridge's messages about its ports (family AF_BRIDGE): their
// RTM_DELLINK means that a port left the bridge, not that a link was deleted.
func aboutLink(typ uint16, payload []byte) bool {
	isLink := typ == unix.RTM_NEWLINK || typ == unix.RTM_DELLINK
	return isLink && len(payload) > 0 && payload[0] == unix.AF_UNSPEC
}

func send(ctx context.Context, events chan<- Event, e Event) bool {
	select {
	case events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
