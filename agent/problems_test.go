package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/problem"
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
	start := func() *reports { return newReports(p.o, current, always, events, slog.New(slog.DiscardHandler)) }
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

func always() bool { return true }

// After a restart, the problems of profiles are not known until these have been applied. They
// must not count as resolved meanwhile.
func TestNothingIsReportedBeforeProfilesAreApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, start := []time.Duration{}, time.Now()
		current := func() (state.State, error) {
			looks = append(looks, time.Since(start))
			return state.State{}, nil
		}
		for _, after := range []time.Duration{70 * time.Second, time.Hour} {
			looks, start = nil, time.Now()
			applied := func() bool { return time.Since(start) >= after }
			r := newReports(Options{StateDir: t.TempDir()}, current, applied, &eventLog{}, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
			r.follow(ctx, nil, nil, nil)
			cancel()
			want := min((after + firstReport).Truncate(firstReport), lastFirstReport)
			if len(looks) == 0 || looks[0] != want {
				t.Errorf("applied after %s: looks %v, want the first after %s", after, looks, want)
			}
		}
	})
}

// devices B10: a node on which nothing happens looks at its problems every few minutes. Many
// changes in a row are one look.
func TestProblemsAreLookedAtAfterChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, start := []time.Duration{}, time.Now()
		down := problem.Problem{Reason: problem.PFNoCarrier, Text: "down"}
		current := func() (state.State, error) {
			looks = append(looks, time.Since(start))
			if time.Since(start) < 20*time.Minute {
				return state.State{}, nil
			}
			return state.State{Problems: []problem.Problem{down}}, nil
		}
		events := &eventLog{}
		r := newReports(Options{StateDir: t.TempDir()}, current, always, events, slog.New(slog.DiscardHandler))
		judged := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.follow(ctx, nil, nil, judged) }()
		judged <- struct{}{} // before the first look
		time.Sleep(11 * time.Minute)
		for range 5 {
			judged <- struct{}{}
			time.Sleep(time.Second)
		}
		time.Sleep(16 * time.Minute)
		cancel()
		<-done
		want := []time.Duration{30 * time.Second, 5*time.Minute + 30*time.Second, 10*time.Minute + 30*time.Second, 11*time.Minute + 10*time.Second,
			16*time.Minute + 10*time.Second, 21*time.Minute + 10*time.Second, 21*time.Minute + 25*time.Second, 26*time.Minute + 25*time.Second}
		if diff := cmp.Diff(want, looks); diff != "" {
			t.Errorf("looks (-want +got):\n%s", diff)
		}
		if got := events.take(); got != "Warning PFNoCarrier: down" {
			t.Errorf("events %q", got)
		}
	})
}
