//go:build root

package link

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// The kernel reports once that it has dropped messages. If await took that report, a
// UseTable would stay stale.
func TestAwaitLeavesTheReportOfLostMessages(t *testing.T) {
	path := netnstest.New(t)
	var events *conn
	if err := netns.With(path, func() (err error) {
		events, err = dial(unix.RTNLGRP_LINK)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer events.close()
	if err := events.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }); err != nil {
		t.Fatal(err)
	}
	h, err := OpenAt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for range 20 { // more than the buffer takes
		if err := errors.Join(h.SetUp(1), h.SetDown(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := events.await(); err != nil {
		t.Fatal(err)
	}
	if _, err := events.receiveNow(); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("after await: %v, want ENOBUFS", err)
	}
}
