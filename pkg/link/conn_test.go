package link

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// meta-cni D4: no answer is waited for without end, those about addresses and routes
// included: a handle has one socket for all.
func TestReceiveGivesUp(t *testing.T) {
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.receive(10 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want that the time is up", err)
	}
	// The socket is as good as before.
	if _, err := (lookups{c}).ByIndex(1); err != nil {
		t.Error(err)
	}
}

func TestCloseWakesAReader(t *testing.T) {
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, c.close)
	if datagram, err := c.receive(0); err == nil {
		t.Errorf("got %d bytes, want that the socket is closed", len(datagram))
	}
}

// An answer to a request whose caller has given up must not be taken for that of the
// next request.
func TestExchangeSkipsAnswersToEarlierRequests(t *testing.T) {
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	late := linkRequest(unix.RTM_GETLINK, 0, 1)
	late.Seq = 4711
	err = c.control(func(fd int) error {
		return unix.Sendto(fd, late.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (lookups{c}).ByName("no-such-link"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
