package sandbox

import (
	"fmt"
	"strings"
	"testing"
)

// The kubelet stops a sandbox several times; its plugins run once.
func TestRepeatedDelRunsNothing(t *testing.T) {
	n := newNode(t)
	n.pod("p", "bridge-conf")
	n.mustAdd("c1", "p")
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	n.world.Log = nil
	for range 3 {
		if _, err := n.call("DEL", "c1", "p"); err != nil {
			t.Fatal(err)
		}
	}
	if trace := strings.TrimSpace(n.world.Trace()); trace != "" {
		t.Errorf("a repeated DEL does something:\n%s", trace)
	}
}

func TestReleasedForgetsTheOldest(t *testing.T) {
	var r released
	for i := range maxReleased + 2 {
		r.note(fmt.Sprint(i))
		r.note(fmt.Sprint(i)) // once more is nothing new
	}
	for id, want := range map[string]bool{"0": false, "1": false, "2": true, fmt.Sprint(maxReleased + 1): true} {
		if r.has(id) != want {
			t.Errorf("sandbox %s: remembered %v, want %v", id, !want, want)
		}
	}
	if len(r.ring) != maxReleased || len(r.known) != maxReleased {
		t.Errorf("%d and %d are kept, want %d", len(r.ring), len(r.known), maxReleased)
	}
}
