package problem

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
)

const (
	// settle is how long a problem must last until it is reported, and how long it must be gone
	// until it counts as resolved. Changes that are under way cause no event.
	settle = 15 * time.Second
	// sayChanged is the pause before an event with another text about the same problem.
	sayChanged = time.Minute
	// sayAgain is the pause before the same event. The API server forgets events after an hour.
	sayAgain = time.Hour
)

// Events writes events. EventType is Normal or Warning.
type Events interface {
	NodeEvent(eventType, reason, message string)
	Event(pod ledger.PodRef, eventType, reason, message string)
}

// Open is a problem that has begun and is not resolved.
type Open struct {
	Reason   Reason    `json:"reason"`
	About    string    `json:"about,omitempty"`
	Since    time.Time `json:"since"`
	Reported time.Time `json:"reported,omitzero"` // when the last event was written; zero: not yet
	Text     string    `json:"text,omitempty"`    // of the last event

	gone time.Time // since when it has not been among the problems
}

// Reporter writes a Warning when a problem has begun, and Normal when it is resolved.
type Reporter struct {
	events Events

	mu     sync.Mutex // guards what follows
	open   map[key]Open
	counts map[Reason]int
}

type key struct {
	reason Reason
	about  string
}

// NewReporter makes a Reporter that knows the problems that were open when the last one ended.
func NewReporter(events Events, remembered []Open) *Reporter {
	r := &Reporter{events: events, open: map[key]Open{}, counts: map[Reason]int{}}
	for _, o := range remembered {
		r.open[key{o.Reason, o.About}] = o
	}
	return r
}

// Open lists the open problems that have been reported, for the next Reporter.
func (r *Reporter) Open() []Open {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Open
	for _, o := range r.open {
		if !o.Reported.IsZero() {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Open) int { return a.Since.Compare(b.Since) })
	return out
}

// Counts returns how many problems of each kind have been reported.
func (r *Reporter) Counts() map[Reason]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// Look compares the present problems with those of before, and writes the events that are due.
// It returns when the next one is due if nothing changes; zero: none.
func (r *Reporter) Look(now time.Time, present []Problem) (next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := merged(present)
	due := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, p := range seen {
		due(r.present(now, p))
	}
	for k, o := range r.open {
		if slices.ContainsFunc(seen, func(p Problem) bool { return key{p.Reason, p.About} == k }) {
			continue
		}
		if at := r.absent(now, k, o); !at.IsZero() {
			due(at)
		}
	}
	return next
}

// merged leaves out problems that get no event, and joins the texts of those that share a key.
func merged(present []Problem) []Problem {
	var out []Problem
	for _, p := range present {
		i := slices.IndexFunc(out, func(o Problem) bool { return o.Reason == p.Reason && o.About == p.About })
		switch {
		case p.Reason.silent():
		case i < 0:
			out = append(out, p)
		case !strings.Contains(out[i].Text, p.Text):
			out[i].Text += "; " + p.Text
		}
	}
	return out
}

// present looks at a problem that exists. It returns when to look again.
func (r *Reporter) present(now time.Time, p Problem) (next time.Time) {
	k := key{p.Reason, p.About}
	o, known := r.open[k]
	if !known {
		o = Open{Reason: p.Reason, About: p.About, Since: now}
	}
	o.gone = time.Time{}
	at := o.due(p.Text)
	if !now.Before(at) {
		if o.Reported.IsZero() {
			r.counts[p.Reason]++
		}
		r.warn(p)
		o.Reported, o.Text = now, p.Text
		at = o.due(p.Text)
	}
	r.open[k] = o
	return at
}

// due returns when the problem is to be reported with a text.
func (o Open) due(text string) time.Time {
	switch {
	case o.Reported.IsZero():
		return o.Since.Add(settle)
	case !sameWords(o.Text, text):
		return o.Reported.Add(sayChanged)
	}
	return o.Reported.Add(sayAgain)
}

// absent looks at a problem that does not exist any more.
func (r *Reporter) absent(now time.Time, k key, o Open) (next time.Time) {
	if o.Reported.IsZero() {
		delete(r.open, k)
		return time.Time{}
	}
	if o.gone.IsZero() {
		o.gone = now
	}
	if at := o.gone.Add(settle); now.Before(at) {
		r.open[k] = o
		return at
	}
	delete(r.open, k)
	r.events.NodeEvent("Normal", string(o.Reason)+"Resolved", "resolved: "+o.Text)
	return time.Time{}
}

func (r *Reporter) warn(p Problem) {
	r.events.NodeEvent("Warning", string(p.Reason), p.Text)
	if p.Pod != nil && p.PodText != "" {
		r.events.Event(*p.Pod, "Warning", string(p.Reason), p.PodText)
	}
}

var number = regexp.MustCompile(`\d+`)

// sameWords ignores numbers: a text may count attempts.
func sameWords(a, b string) bool {
	return number.ReplaceAllString(a, "0") == number.ReplaceAllString(b, "0")
}
