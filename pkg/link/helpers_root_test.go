//go:build root

package link_test

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

func handle(t testing.TB) *link.Handle { return handleAt(t, netnstest.New(t)) }

func handleAt(t testing.TB, path string) *link.Handle {
	t.Helper()
	h, err := link.OpenAt(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func inside(t testing.TB, path string, fn func() error) {
	t.Helper()
	if err := netns.With(path, fn); err != nil {
		t.Fatal(err)
	}
}

// veth makes a pair in h's namespace and returns its first end.
func veth(t testing.TB, h *link.Handle, name, peer string) link.Link {
	t.Helper()
	err := h.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, TxQLen: -1}, PeerName: peer})
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// names asserts which links are in a namespace, in alphabetical order.
func names(t testing.TB, h *link.Handle, want ...string) {
	t.Helper()
	links, err := h.List()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, l := range links {
		if l.Kind == "" && l.Name != "lo" {
			continue // tunnels that some kernels put into every namespace have no kind either
		}
		got[l.Name] = true
	}
	wanted := map[string]bool{}
	for _, n := range want {
		wanted[n] = true
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func await(t *testing.T, events <-chan link.Event, match func(link.Event) bool) {
	t.Helper()
	for e := range events {
		if match(e) {
			return
		}
	}
	t.Fatal("the events ended")
}

func cidr(s string) net.IPNet {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	return *n
}

// inUse returns the links that the namespace's own network uses, by name, with Use.String.
func inUse(t testing.TB, h *link.Handle) map[string]string {
	t.Helper()
	all, err := h.Uses()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]string, len(all))
	for _, use := range all {
		byName[use.Name] = use.String()
	}
	return byName
}
