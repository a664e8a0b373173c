//go:build root

package link_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

// devices B9: after each change, a table that follows events equals a listing.
// The kernel does not announce some changes: it drops IPv4 routes silently with a link that
// is taken down, with a link's last address, and in older kernels with their source.
func TestUseTableSaysWhatAListingSays(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	w := wires{t: t, h: h, a: veth(t, h, "a0", "a1"), b: veth(t, h, "b0", "b1")}
	uses := watchUse(t, path)
	for _, s := range slices.Concat(w.addressSteps(), w.routeSteps(), w.linkSteps()) {
		if err := h.Do(s.do); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		table, err := uses.All()
		for deadline := time.Now().Add(5 * time.Second); strings.HasSuffix(s.name, "late") && time.Now().Before(deadline); {
			if table, err = uses.All(); w.text(table) == s.want {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err != nil || w.text(table) != s.want {
			t.Errorf("%s: %q, %v, want %q", s.name, w.text(table), err, s.want)
		}
		listing, err := h.Uses()
		if diff := cmp.Diff(listing, table, cmpopts.EquateComparable(netip.Prefix{})); err != nil || diff != "" {
			t.Fatalf("%s: %v (-listing +table):\n%s", s.name, err, diff)
		}
		if u, err := uses.Of(w.a.Index); err != nil || text(u) != text(table[w.a.Index]) {
			t.Errorf("%s: of only a0 %q, %v", s.name, text(u), err)
		}
	}
	if _, err := uses.Of(9999); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("a link that is not there: %v, want ErrNotFound", err)
	}
}

func text(u link.Use) string {
	if !u.Any() {
		return "-"
	}
	return u.String()
}

func TestUseTableReportsChangesAndEnds(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	l := veth(t, h, "eth3", "peer")
	ctx, cancel := context.WithCancel(context.Background())
	var uses *link.UseTable
	inside(t, path, func() (err error) {
		uses, err = link.WatchUse(ctx)
		return err
	})
	<-uses.Changed() // the first reading
	if err := h.SetMTU(l.Index, 1400); err != nil {
		t.Fatal(err)
	}
	select {
	case <-uses.Changed():
		t.Error("the MTU was taken for a use")
	case <-time.After(50 * time.Millisecond):
	}
	if err := h.AddAddress(l.Index, link.Address{IPNet: cidr("192.0.2.1/24")}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-uses.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("an address was not reported")
	}
	cancel()
	for range uses.Changed() { // closed once ctx has ended
	}
	if _, err := uses.All(); err == nil {
		t.Error("a watch that has ended answers")
	}
}

// A reader that was too slow has the kernel drop messages. The table is read again.
func TestUseTableReadsAgainAfterLoss(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	l := veth(t, h, "eth3", "peer")
	uses := watchUse(t, path)
	uses.Pause(func() { // no reader meanwhile
		for n := range 20000 {
			if err := h.SetMTU(l.Index, 1300+n%2); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.AddAddress(l.Index, link.Address{IPNet: cidr("192.0.2.1/24")}); err != nil {
			t.Fatal(err)
		}
	})
	if u, err := uses.Of(l.Index); err != nil || !u.Any() {
		t.Errorf("after lost messages: %+v, %v", u, err)
	}
}

// An IPv6 address without duplicate address detection is not announced as long as
// the link is down.
func TestUseTableIsReadAgainOnDemand(t *testing.T) {
	path := netnstest.New(t)
	h := handleAt(t, path)
	l := veth(t, h, "eth3", "peer")
	uses := watchUse(t, path)
	addr, _ := netlink.ParseAddr("2001:db8::1/64")
	addr.Flags = unix.IFA_F_NODAD
	if err := h.Do(func() error {
		return netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: l.Index}}, addr)
	}); err != nil {
		t.Fatal(err)
	}
	if err := uses.Reread(); err != nil {
		t.Fatal(err)
	}
	if u, err := uses.Of(l.Index); err != nil || !u.Any() {
		t.Errorf("got %+v, %v", u, err)
	}
}

// devices C6: links without IPv4 are seen too.
func TestUseOfOneLink(t *testing.T) {
	h := handle(t)
	l := veth(t, h, "eth3", "peer")
	if err := h.SetUp(l.Index); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Use(l.Index); err != nil || u.Any() || u.String() != "" {
		t.Errorf("a new link: %+v, %v", u, err)
	}
	_, all, _ := net.ParseCIDR("::/0")
	if err := h.AddRoute(link.Route{Link: l.Index, Dst: *all}); err != nil {
		t.Fatal(err)
	}
	if u, err := h.Use(l.Index); err != nil || !u.DefaultRoute {
		t.Errorf("with an IPv6 default route: %+v, %v", u, err)
	}
	if _, err := h.Use(9999); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("a link that is not there: %v, want ErrNotFound", err)
	}
}

func watchUse(t testing.TB, path string) *link.UseTable {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var uses *link.UseTable
	inside(t, path, func() (err error) {
		uses, err = link.WatchUse(ctx)
		return err
	})
	return uses
}
