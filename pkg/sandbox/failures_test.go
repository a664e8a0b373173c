package sandbox

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
)

// lab, words at 3 a.m.: "Failing ADDs are not in status at all". They are until the pod has its
// networks or is gone.
func TestFailedAttachesAreRemembered(t *testing.T) {
	n := newNode(t)
	n.pod("p", "nosuch")
	want := func(when, want string) {
		t.Helper()
		var got []string
		all, _ := n.keeper.Failures()
		for _, f := range all {
			got = append(got, fmt.Sprintf("%s|%s|%s|%d|%s", f.Pod, f.Network, f.Step, f.Count, f.Last.Sub(f.First)))
		}
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("%s: %q, want %q", when, text, want)
		}
	}
	for _, id := range []string{"c1", "c2"} { // the runtime makes a new sandbox each time
		if _, err := n.call("ADD", id, "p"); err == nil {
			t.Fatal("no error")
		}
		if _, err := n.call("DEL", id, "p"); err != nil {
			t.Fatal(err)
		}
		n.now = n.now.Add(10 * time.Second)
	}
	want("after two tries", "default/p|default/nosuch|look up its net-attach-def|2|10s")
	n.keeper.PodEnded("default", "other")
	want("another pod is gone", "default/p|default/nosuch|look up its net-attach-def|2|10s")
	n.keeper.PodEnded("default", "p")
	want("the pod is gone", "")
	_, _ = n.call("ADD", "c3", "p")
	n.pod("p", "macvlan-conf")
	n.mustAdd("c4", "p")
	want("the pod has its networks", "")
	n.pod("q", "nosuch")
	_, _ = n.call("ADD", "c5", "q")
	n.now = n.now.Add(failureOver + time.Second)
	want("nobody has tried for long", "")
	if _, counts := n.keeper.Failures(); counts != (AttachCounts{Succeeded: 1, Failed: 4}) {
		t.Errorf("counted %+v", counts)
	}
}

// A node on which every pod fails must not grow the agent.
func TestFailedAttachesAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFailures(func() time.Time { now = now.Add(time.Millisecond); return now })
	for i := range maxFailing + 10 {
		f.note(ledger.PodRef{Namespace: "d", Name: fmt.Sprintf("p%04d", i)}, errors.New("x"))
	}
	all, _ := f.list()
	if len(all) != maxFailing || all[0].Pod.Name != "p0010" {
		t.Errorf("%d are remembered, the first is %s", len(all), all[0].Pod)
	}
}

// lab "allocated, in no network lingers for more than 15 s after pods are gone": the end of a
// pod is the moment to ask the kubelet again, whatever pause there was.
func TestTheEndOfAPodFreesItsDevices(t *testing.T) {
	n := newNode(t)
	n.pod("p", "fast", vf1)
	n.allocate(t, vf1)
	n.now = n.now.Add(time.Second)
	n.mustAdd("c1", "p")
	n.now = n.now.Add(time.Second)
	if _, err := n.call("DEL", "c1", "p"); err != nil {
		t.Fatal(err)
	}
	var next time.Duration
	for range 4 { // the kubelet lists the pod until its containers are gone
		next, _ = n.keeper.allocations.look(t.Context())
		n.now = n.now.Add(next)
	}
	if next < 15*time.Second {
		t.Fatalf("the pause is %s: this test shows nothing", next)
	}
	select {
	case <-n.keeper.allocations.wake:
	default:
	}
	delete(n.kubelet.ByPod, "default/p")
	n.keeper.PodEnded("default", "p")
	select {
	case <-n.keeper.allocations.wake:
	default:
		t.Fatal("the loop is not woken")
	}
	if n.keeper.allocations.look(t.Context()); len(n.keeper.allocations.returned) > 0 {
		t.Error("devices are still waited for")
	}
	if left, err := n.ledger.Allocations(); err != nil || len(left) > 0 {
		t.Errorf("%d allocations are left, %v", len(left), err)
	}
}
