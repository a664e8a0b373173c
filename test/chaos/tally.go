package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// tally collects the figures of a run, and everything that is wrong.
type tally struct {
	say func(format string, args ...any)

	mu     sync.Mutex                // guards the rest
	counts map[string]map[string]int // heading → name → how often
	times  map[string][]time.Duration
	wrong  []string
	calls  map[string]bool // lines of agents' logs that are counted
	agents map[string]agentSample
}

func newTally(say func(format string, args ...any)) *tally {
	return &tally{say: say, counts: map[string]map[string]int{}, times: map[string][]time.Duration{},
		calls: map[string]bool{}, agents: map[string]agentSample{}}
}

func (t *tally) count(heading, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts[heading] == nil {
		t.counts[heading] = map[string]int{}
	}
	t.counts[heading][name]++
}

func (t *tally) took(what string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times[what] = append(t.times[what], d)
}

func (t *tally) started(kind string, d time.Duration) {
	t.count("started", kind)
	t.took("create to ready", d)
}

func (t *tally) gone(d time.Duration) { t.took("delete to gone", d) }

// discrepancy notes something that is wrong, once, and shows it at once.
func (t *tally) discrepancy(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Contains(t.wrong, text) {
		return
	}
	t.wrong = append(t.wrong, text)
	t.say("✗ %s", text)
}

// discrepancies returns all of them, in order.
func (t *tally) discrepancies() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.wrong)
}

// agent keeps the highest figures of a node's agents.
func (t *tally) agent(node string, a agentSample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	most := t.agents[node]
	t.agents[node] = agentSample{peakKiB: max(most.peakKiB, a.peakKiB), residentKiB: a.residentKiB, files: max(most.files, a.files)}
}

// summary is the report of the run.
func (t *tally) summary() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out strings.Builder
	for _, heading := range slices.Sorted(maps.Keys(t.counts)) {
		total, parts := 0, []string{}
		for _, name := range slices.Sorted(maps.Keys(t.counts[heading])) {
			total += t.counts[heading][name]
			parts = append(parts, fmt.Sprintf("%s %d", name, t.counts[heading][name]))
		}
		fmt.Fprintf(&out, "%-24s %4d: %s\n", heading, total, strings.Join(parts, ", "))
	}
	for _, what := range slices.Sorted(maps.Keys(t.times)) {
		fmt.Fprintf(&out, "%-24s %s\n", what, percentiles(t.times[what]))
	}
	for _, node := range slices.Sorted(maps.Keys(t.agents)) {
		a := t.agents[node]
		fmt.Fprintf(&out, "%-24s at most %d MiB resident, %d at the end; at most %d open files\n",
			"agent of "+node, a.peakKiB/1024, a.residentKiB/1024, a.files)
	}
	return out.String()
}

func percentiles(all []time.Duration) string {
	sorted := slices.Sorted(slices.Values(all))
	at := func(percent int) time.Duration {
		return sorted[(len(sorted)-1)*percent/100].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d: median %s, p90 %s, p99 %s, longest %s", len(sorted), at(50), at(90), at(99), at(100))
}
