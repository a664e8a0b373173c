package problem

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
)

// written collects events as lines.
type written struct{ lines []string }

func (w *written) NodeEvent(eventType, reason, message string) {
	w.lines = append(w.lines, fmt.Sprintf("node %s %s %s", eventType, reason, message))
}

func (w *written) Event(pod ledger.PodRef, eventType, reason, message string) {
	w.lines = append(w.lines, fmt.Sprintf("pod %s %s %s %s", pod, eventType, reason, message))
}

func (w *written) take() string {
	text := strings.Join(w.lines, "\n")
	w.lines = nil
	return text
}

var began = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// Problems were only in `fairleadctl status`, one exec for each node (lab "Nothing reaches the
// cluster"). Each begins with one Warning, and ends with one Normal event.
func TestEventsOfAProblem(t *testing.T) {
	down := Problem{Reason: PFNoCarrier, About: "PF a", Text: "PF a has no carrier"}
	failing := func(times int) Problem {
		return Problem{Reason: ReleaseFailed, About: "sandbox x", Text: fmt.Sprintf("release has failed %d times", times)}
	}
	refused := func(why string) Problem {
		return Problem{Reason: ConfigurationRefused, About: "profiles", Text: why}
	}
	lost := Problem{Reason: VFOfPodLost, About: "x", Text: "pod d/p: its VF is on the host as eth3",
		Pod: &ledger.PodRef{Namespace: "d", Name: "p"}, PodText: "its VF is not in the pod"}
	tests := []struct {
		name  string
		looks []aLook
	}{
		{"begins and ends", looks(
			at(0, "", down), at(14*time.Second, "", down),
			at(15*time.Second, "node Warning PFNoCarrier PF a has no carrier", down),
			at(59*time.Minute, "", down), at(60*time.Minute, ""),
			at(60*time.Minute+15*time.Second, "node Normal PFNoCarrierResolved resolved: PF a has no carrier"),
			at(2*time.Hour, ""))},
		{"passes by", looks(at(0, "", down), at(5*time.Second, ""), at(10*time.Second, "", down), at(20*time.Second, "", down))},
		{"flaps", looks(at(0, "", down), at(15*time.Second, "node Warning PFNoCarrier PF a has no carrier", down),
			at(20*time.Second, ""), at(30*time.Second, "", down), at(50*time.Second, ""), at(64*time.Second, "", down))},
		{"lasts", looks(at(0, "", down), at(time.Minute, "node Warning PFNoCarrier PF a has no carrier", down),
			at(61*time.Minute, "node Warning PFNoCarrier PF a has no carrier", down))},
		{"counts", looks(at(0, "", failing(1)), at(time.Minute, "node Warning ReleaseFailed release has failed 2 times", failing(2)),
			at(30*time.Minute, "", failing(9)))},
		{"has another text", looks(at(0, "", refused("a")), at(time.Minute, "node Warning ConfigurationRefused a", refused("a")),
			at(61*time.Second, "", refused("b")), at(2*time.Minute, "node Warning ConfigurationRefused b", refused("b")))},
		{"is of a pod", looks(at(0, "", lost),
			at(time.Minute, "node Warning VFOfPodLost pod d/p: its VF is on the host as eth3\npod d/p Warning VFOfPodLost its VF is not in the pod", lost))},
		{"two in one look", looks(at(0, "", down, refused("a"), down),
			at(time.Minute, "node Warning PFNoCarrier PF a has no carrier\nnode Warning ConfigurationRefused a", down, refused("a"), down))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := &written{}
			r := NewReporter(w, nil)
			for _, look := range test.looks {
				r.Look(began.Add(look.after), look.present)
				if got := w.take(); got != look.want {
					t.Errorf("after %s: %q, want %q", look.after, got, look.want)
				}
			}
		})
	}
}

// aLook is one call of Look, with the events that it writes.
type aLook struct {
	after   time.Duration // began
	present []Problem
	want    string
}

func at(after time.Duration, want string, present ...Problem) aLook {
	return aLook{after, present, want}
}

func looks(all ...aLook) []aLook { return all }

// A restart of the agent must not repeat the events of problems that last, and reports those
// that ended meanwhile.
func TestReportsAreRememberedOverARestart(t *testing.T) {
	down := Problem{Reason: PFNoCarrier, About: "PF a", Text: "down"}
	ended := Problem{Reason: PFRenamed, About: "PF b", Text: "renamed"}
	w := &written{}
	r := NewReporter(w, nil)
	r.Look(began, []Problem{down, ended})
	r.Look(began.Add(time.Minute), []Problem{down, ended})
	if n := r.Counts()[PFNoCarrier]; n != 1 || len(r.Open()) != 2 {
		t.Fatalf("counted %d, open %v", n, r.Open())
	}
	w.take()
	r = NewReporter(w, r.Open())
	next := r.Look(began.Add(2*time.Minute), []Problem{down})
	if got := w.take(); got != "" || !next.Equal(began.Add(2*time.Minute+settle)) {
		t.Errorf("after the restart: %q, next look %s", got, next)
	}
	r.Look(next, []Problem{down})
	if got := w.take(); got != "node Normal PFRenamedResolved resolved: renamed" {
		t.Errorf("%q", got)
	}
}

// A kind that nobody has described would be missing in the documentation, and one that gets no
// event needs a reason.
func TestEachKindOfProblemMakesAnEventOrSaysWhyNot(t *testing.T) {
	for _, k := range Kinds() {
		w := &written{}
		r := NewReporter(w, nil)
		r.Look(began, []Problem{{Reason: k.Reason, Text: "x"}})
		r.Look(began.Add(settle), []Problem{{Reason: k.Reason, Text: "x"}})
		want := "node Warning " + string(k.Reason) + " x"
		if k.NoEvent != "" {
			want = ""
		}
		if got := w.take(); got != want {
			t.Errorf("%s: %q, want %q", k.Reason, got, want)
		}
	}
}

func TestReadsProblemsWithoutReasons(t *testing.T) {
	for raw, want := range map[string]Problem{
		`"PF a is down"`: {Text: "PF a is down"},
		`{"reason":"PFNoCarrier","about":"PF a","text":"x"}`: {Reason: PFNoCarrier, About: "PF a", Text: "x"},
	} {
		var p Problem
		if err := p.UnmarshalJSON([]byte(raw)); err != nil || p != want {
			t.Errorf("%s: %+v, %v", raw, p, err)
		}
	}
}
