// Package progress shows a waiting person the lab's work: how far it is, and how long it
// took. It decides nothing.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// every is how often a long step reports when nobody watches a terminal.
const every = 10 * time.Second

// Reporter writes one line per step, and lines in between for long ones.
type Reporter struct {
	w     io.Writer
	tty   bool
	start time.Time
}

// New returns a Reporter that writes to f. On a terminal, a line renews itself.
func New(f *os.File) *Reporter {
	st, err := f.Stat()
	return &Reporter{w: f, tty: err == nil && st.Mode()&os.ModeCharDevice != 0, start: time.Now()}
}

// Note prints one line.
func (r *Reporter) Note(format string, args ...any) {
	fmt.Fprintf(r.w, "%6s  %s\n", r.since(), fmt.Sprintf(format, args...))
}

func (r *Reporter) since() string { return short(time.Since(r.start)) }

// Step runs fn as one named step and prints how it ended.
func (r *Reporter) Step(name string, fn func(*Step) error) error {
	s := &Step{r: r, name: name, start: time.Now(), done: make(chan struct{})}
	var tick sync.WaitGroup
	tick.Go(s.tick) // ends when done is closed
	err := fn(s)
	close(s.done)
	tick.Wait()
	s.finish(err)
	return err
}

// Step is a step that is under way.
type Step struct {
	r      *Reporter
	name   string
	start  time.Time
	done   chan struct{}
	result string // written by the step itself, read after it

	mu     sync.Mutex // guards the fields below
	status string
	shown  bool
}

// Status notes how far the step is. The next progress line shows it.
func (s *Step) Status(format string, args ...any) {
	s.mu.Lock()
	s.status = fmt.Sprintf(format, args...)
	s.mu.Unlock()
}

// Result notes a text that is shown when the step has ended.
func (s *Step) Result(format string, args ...any) { s.result = fmt.Sprintf(format, args...) }

func (s *Step) tick() {
	period := every
	if s.r.tty {
		period = time.Second
	}
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
			s.show()
		}
	}
}

func (s *Step) show() {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6s  %s … %s", s.r.since(), s.name, short(time.Since(s.start)))
	if s.status != "" {
		line += ", " + s.status
	}
	if s.r.tty {
		fmt.Fprintf(s.r.w, "\r\x1b[K%s", line)
		s.shown = true
		return
	}
	fmt.Fprintln(s.r.w, line)
}

func (s *Step) finish(err error) {
	if s.shown {
		fmt.Fprint(s.r.w, "\r\x1b[K")
	}
	took := short(time.Since(s.start))
	if err != nil {
		s.r.Note("%s: failed after %s", s.name, took)
		return
	}
	if s.result != "" {
		took += " (" + s.result + ")"
	}
	s.r.Note("%s: %s", s.name, took)
}

// short returns a duration as people read it: 0.4s, 12s, 3m05s.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	default:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
}
