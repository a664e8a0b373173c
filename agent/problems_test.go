package agent

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/state"
)

// eventLog collects events as lines.
type eventLog struct{ lines []string }

func (l *eventLog) NodeEvent(eventType, reason, message string) {
	l.lines = append(l.lines, fmt.Sprintf("%s %s: %s", eventType, reason, message))
}

func (l *eventLog) Event(pod ledger.PodRef, eventType, reason, message string) {
	l.lines = append(l.lines, fmt.Sprintf("pod %s %s %s: %s", pod, eventType, reason, message))
}

func (l *eventLog) take() string {
	text := strings.Join(l.lines, "\n")
	l.lines = nil
	return text
}

// lab "Nothing reaches the cluster": an invalid policy is an event of the node, once, over a
// restart of the agent too; so is its end.
func TestProblemsBecomeEventsOfTheNode(t *testing.T) {
	p, events := newParts(t, "http://127.0.0.1:1"), &eventLog{}
	current := func() (state.State, error) {
		p.policies.read()
		s, err := p.join(nil)
		for i := 0; i < len(s.Problems); i++ { // the API server is not this test's
			if s.Problems[i].Reason == "APIServerUnread" {
				s.Problems = append(s.Problems[:i], s.Problems[i+1:]...)
				i--
			}
		}
		return s, err
	}
	p.policies.o.PoliciesConfigMap = ""
	write(t, p.o.PoliciesDir+"/a.yaml", "spec: [")
	start := func() *reports { return newReports(p.o, current, events, slog.New(slog.DiscardHandler)) }
	now := time.Now()
	r := start()
	if wait := r.look(now); wait > time.Minute || len(events.lines) > 0 {
		t.Errorf("at once: next look after %s, events %q", wait, events.take())
	}
	r.look(now.Add(time.Minute))
	if got := events.take(); !strings.HasPrefix(got, "Warning PoliciesRefused: ") || strings.Count(got, "\n") > 0 || !strings.Contains(got, "a.yaml") {
		t.Errorf("after a minute: %q", got)
	}
	r = start()
	r.look(now.Add(2 * time.Minute))
	if got := events.take(); got != "" {
		t.Errorf("after a restart: %q", got)
	}
	if err := os.Remove(p.o.PoliciesDir + "/a.yaml"); err != nil {
		t.Fatal(err)
	}
	r.look(now.Add(3 * time.Minute))
	r.look(now.Add(4 * time.Minute))
	if got := events.take(); !strings.HasPrefix(got, "Normal PoliciesRefusedResolved: resolved: ") {
		t.Errorf("after the correction: %q", got)
	}
}

// lab "removed VFs … show in fairleadctl status only".
func TestVFsThatSomebodyRemovedAreAnEvent(t *testing.T) {
	before := inventory.NewSnapshot([]device.PF{
		pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"), vf("0000:01:10.2", "v1")), pf("0000:02:00.0", "pf1", true, vf("0000:02:10.0", "w0")),
	}, nil)
	for _, tt := range []struct {
		name string
		now  []device.PF
		want string
	}{
		{"none", before.PFs, ""},
		{"by sriov_numvfs", []device.PF{pf("0000:01:00.0", "pf0", true), before.PFs[1]},
			"Warning VFsRemoved: 2 VFs of PF pf0 (0000:01:00.0) were removed, and not by Fairlead (0000:01:10.0 is the first): somebody wrote to its sriov_numvfs, or its driver was loaded again; a profile that asks for them makes them again"},
		{"with the PF", before.PFs[:1],
			"Warning VFsRemoved: 1 VFs of PF pf1 (0000:02:00.0) were removed, and not by Fairlead (0000:02:10.0 is the first): the PF itself is gone from the PCI bus"},
	} {
		events := &eventLog{}
		reportRemoved(before, inventory.NewSnapshot(tt.now, nil), func(text string) { events.NodeEvent("Warning", "VFsRemoved", text) })
		if got := events.take(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
