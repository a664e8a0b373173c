package link

import (
	"context"
	"errors"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Event is a change of a link in the subscriber's namespace.
type Event struct {
	Link Link
	Gone bool // it was deleted, or moved to another namespace
	// Lost: the kernel dropped events because the reader was too slow; Link is
	// not set, and what the reader knows is to be read anew.
	Lost bool
}

// eventBuffer is the socket's, in bytes: enough for every VF of a large NIC to
// come or go at once.
const eventBuffer = 4 << 20

// Subscribe reports link changes in the caller's namespace until ctx ends, or the
// socket fails; then the channel is closed.
func Subscribe(ctx context.Context) (<-chan Event, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, wrap("subscription", "link events", err)
	}
	// Force is for privileged callers; without it the size is capped, and Lost comes sooner.
	if s.SetReceiveBufferSize(eventBuffer, true) != nil {
		_ = s.SetReceiveBufferSize(eventBuffer, false)
	}
	events := make(chan Event)
	stop := context.AfterFunc(ctx, s.Close) // wakes Receive
	go func() {                             // ends when ctx ends or the socket fails
		defer close(events)
		defer stop()
		receive(ctx, s, events)
		s.Close()
	}()
	return events, nil
}

func receive(ctx context.Context, s *nl.NetlinkSocket, events chan<- Event) {
	for {
		msgs, from, err := s.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			if !send(ctx, events, Event{Lost: true}) {
				return
			}
			continue
		}
		if err != nil {
			return
		}
		if from.Pid != nl.PidKernel {
			continue
		}
		for _, m := range msgs {
			if !aboutLink(m) {
				continue
			}
			l, err := parse(m.Data)
			if err != nil {
				continue
			}
			if !send(ctx, events, Event{Link: l, Gone: m.Header.Type == unix.RTM_DELLINK}) {
				return
			}
		}
	}
}

// aboutLink leaves out a bridge's news of its ports (family AF_BRIDGE), where
// RTM_DELLINK means that the port left the bridge, not that it is gone.
func aboutLink(m syscall.NetlinkMessage) bool {
	isLink := m.Header.Type == unix.RTM_NEWLINK || m.Header.Type == unix.RTM_DELLINK
	return isLink && len(m.Data) > 0 && m.Data[0] == unix.AF_UNSPEC
}

func send(ctx context.Context, events chan<- Event, e Event) bool {
	select {
	case events <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
