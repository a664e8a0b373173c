//go:build root

package inventory_test

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// Both kinds of kernel events about a netdev that appears in this namespace and vanishes.
func TestKernelEvents(t *testing.T) {
	inOwnNetns(t, func(*link.Handle) {
		for name, source := range map[string]inventory.Source{
			"rtnetlink": inventory.LinkEvents{},
			"uevents":   inventory.Uevents{Log: slog.New(slog.DiscardHandler)},
		} {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			events, err := source.Open(ctx)
			check(t, err)
			check(t, addPair("fl0", "fl1"))
			expect(t, name+", added", events, "fl0")
			check(t, deleteLink("fl0"))
			expect(t, name+", removed", events, "fl1")
			cancel()
			for range events { // Open must close the channel
			}
		}
	})
}

func expect(t *testing.T, what string, events <-chan inventory.Event, netdev string) {
	t.Helper()
	for e := range events {
		if e.Netdev == netdev && e.Function == (pci.Address{}) && !e.Lost {
			return
		}
	}
	t.Errorf("%s: no event about %s", what, netdev)
	runtime.Goexit()
}

// check ends the goroutine: it is not the test's own.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		runtime.Goexit()
	}
}

func TestAltNamesFromTheKernel(t *testing.T) {
	inOwnNetns(t, func(h *link.Handle) {
		check(t, addPair("fl0", "fl1"))
		check(t, addAltName("fl0", "an-altname-of-more-than-15-bytes"))
		names := inventory.Links{Handle: h}
		all, err := names.All()
		if err != nil || len(all) != 1 || len(all["fl0"]) != 1 {
			t.Errorf("All() = %v, %v; want the one altname", all, err)
			return
		}
		one, err := names.Of("fl0")
		if err != nil || len(one) != 1 || one[0] != all["fl0"][0] {
			t.Errorf("Of(fl0) = %v, %v; want %v", one, err, all["fl0"])
		}
		if got, err := names.Of("fl1"); err != nil || len(got) != 0 {
			t.Errorf("Of(fl1) = %v, %v; want none", got, err)
		}
	})
}

// devlink reports nothing about a function that does not exist.
func TestEswitchOfNothing(t *testing.T) {
	if got := inventory.Eswitch(pci.MustParseAddress("ffff:ff:1f.7")); got != "" {
		t.Errorf("eswitch mode %q, want none", got)
	}
}

// inOwnNetns runs fn on a thread of its own in a new network namespace. The thread stays
// locked, so that the runtime discards it together with its namespace.
func inOwnNetns(t *testing.T, fn func(*link.Handle)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("new network namespace: %v", err)
			return
		}
		h, err := link.Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer h.Close()
		fn(h)
	}()
	<-done
}

func addPair(name, peer string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer})
}

func deleteLink(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

func addAltName(name, alt string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkAddAltName(l, alt)
}
