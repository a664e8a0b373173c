package agent

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/confdir"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// exclusive renames the conf as soon as it is there, as Cilium does, until ctx ends. It returns
// how often it has done so.
func exclusive(ctx context.Context, conf string) (renames int) {
	for ctx.Err() == nil {
		if os.Rename(conf, conf+".cilium_bak") == nil {
			renames++
		}
		time.Sleep(time.Millisecond)
	}
	return renames
}

// reports 13: an exclusive Cilium. The agent does not fight, from its first installation on, and
// reports the problem once.
func TestConfThatIsRenamedEachTime(t *testing.T) {
	p, log := newParts(t, "http://127.0.0.1:1"), &lines{}
	p.installation.log = slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), log), nil))
	write(t, filepath.Join(p.o.CNIConfDir, "05-cilium.conflist"), `{"cniVersion":"1.0.0","name":"cilium","plugins":[{"type":"cilium-cni"}]}`)
	conf := filepath.Join(p.o.CNIConfDir, confdir.ConfName)
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	during(t, p.installation.keep)
	renames := exclusive(ctx, conf)
	if renames < 2 || renames > 4 {
		t.Errorf("the conf was renamed %d times in 2.5 s", renames)
	}
	awaitProblems(t, p, "Cilium is exclusive", func(s string) bool {
		return strings.Contains(s, conf+".cilium_bak") && strings.Contains(s, "cni.exclusive=false")
	})
	if n := log.count("level=WARN"); n != 1 || log.count("does not stay in place") != 1 {
		t.Errorf("%d warnings", n)
	}
	late := time.After(10 * time.Second)
	for { // Cilium is no longer exclusive
		if _, err := os.Stat(conf); err == nil {
			break
		}
		select {
		case <-late:
			t.Fatal("the conf is not back")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
