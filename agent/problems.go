package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/host/file"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

const (
	// firstReport is the pause before the first look at the node's problems. Until then, the
	// parts read their sources.
	firstReport = 30 * time.Second
	// lastFirstReport is the longest wait for the profiles before the first look. Until they have
	// been compared with the NICs, their problems are not known, and would count as resolved.
	lastFirstReport = 5 * time.Minute
	// gatherChanges is the pause between a change and the look at the problems.
	gatherChanges = 10 * time.Second
	// reviewProblems is how often the problems are looked at without any event.
	reviewProblems = 5 * time.Minute
)

// reports turns the node's problems into events, and remembers them over restarts.
type reports struct {
	current  func() (state.State, error)
	complete func() bool // all parts have looked for problems
	reporter *problem.Reporter
	path     string
	saved    []byte
	log      *slog.Logger
}

func newReports(o Options, current func() (state.State, error), complete func() bool, events problem.Events, log *slog.Logger) *reports {
	r := &reports{current: current, complete: complete, path: o.problemsPath(), log: log}
	open, err := r.read()
	if err != nil {
		log.Warn("the problems that were reported last are lost; events may be repeated", "error", err)
	}
	r.reporter = problem.NewReporter(events, open)
	return r
}

func (r *reports) read() ([]problem.Open, error) {
	raw, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the reported problems: %w", err)
	}
	var open []problem.Open
	if err := json.Unmarshal(raw, &open); err != nil {
		return nil, fmt.Errorf("read the reported problems in %s: %w", r.path, err)
	}
	r.saved = raw
	return open, nil
}

// look writes the events that are due, and returns how long to wait if nothing changes.
func (r *reports) look(now time.Time) time.Duration {
	s, err := r.current()
	if err != nil {
		r.log.Warn("looking for problems failed; trying again", "error", err)
		return reviewProblems
	}
	next := r.reporter.Look(now, s.Problems)
	if err := r.save(); err != nil {
		r.log.Warn("remembering the reported problems failed; a restart may repeat their events", "error", err)
	}
	if next.IsZero() {
		return reviewProblems
	}
	return min(max(next.Sub(now), time.Second), reviewProblems)
}

func (r *reports) save() error {
	raw, err := json.Marshal(r.reporter.Open())
	if err != nil || bytes.Equal(raw, r.saved) {
		return err
	}
	if err := file.Replace(r.path, raw, 0o600); err != nil {
		return err
	}
	r.saved = raw
	return nil
}

// reportProblems follows the parts whose changes may begin or end a problem, until ctx ends.
func reportProblems(ctx context.Context, p *parts) error {
	snapshots, cancel := p.inv.Subscribe()
	defer cancel()
	views, cancelViews := p.custody.Subscribe()
	defer cancelViews()
	p.reports.follow(ctx, snapshots, views, p.node.judged)
	return nil
}

// follow looks at the problems soon after each change, and when an event is due.
func (r *reports) follow(ctx context.Context, snapshots <-chan *inventory.Snapshot, views <-chan *custody.View, judged <-chan struct{}) {
	due := time.NewTimer(firstReport)
	defer due.Stop()
	patience := time.Now().Add(lastFirstReport)
	for soon := true; ; { // the timer runs already
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			if now := time.Now(); !r.complete() && now.Before(patience) {
				due.Reset(firstReport)
				continue
			}
			due.Reset(r.look(time.Now()))
			soon = false
			continue
		case <-snapshots:
		case <-views:
		case <-judged:
		}
		if !soon {
			due.Reset(gatherChanges)
			soon = true
		}
	}
}
