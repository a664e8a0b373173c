//go:build root

package netns_test

import (
	"testing"

	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
)

func TestNamespacesAreToldApart(t *testing.T) {
	first, second := netnstest.New(t), netnstest.New(t)
	id, err := netns.Identify(first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := netns.Identify(first)
	if err != nil || again != id || !again.Same(id) {
		t.Errorf("the second time it is %v, %v; it was %v", again, err, id)
	}
	other, err := netns.Identify(second)
	if err != nil || other.Same(id) {
		t.Errorf("%s is %v, %v; %s is %v", second, other, err, first, id)
	}
	if host, err := id.Host(); host || err != nil {
		t.Errorf("a pod's namespace is the host's: %v", err)
	}
	netnstest.Remove(t, first)
	if _, err := netns.Identify(first); !netns.IsGone(err) {
		t.Errorf("got %v", err)
	}
}
