//go:build decodes

package decodes

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// Counts has the number of decodes by the function that asked for them.
type Counts map[string]int

// Total is the number of all decodes.
func (c Counts) Total() int {
	n := 0
	for _, m := range c {
		n += m
	}
	return n
}

// String lists the functions, those with the most decodes first.
func (c Counts) String() string {
	sites := slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		if c[a] != c[b] {
			return c[b] - c[a]
		}
		return strings.Compare(a, b)
	})
	var out strings.Builder
	for _, site := range sites {
		fmt.Fprintf(&out, "%4d  %s\n", c[site], site)
	}
	return out.String()
}

// counter is where the hook counts. One piece of work is counted at a time.
var counter struct {
	mu     sync.Mutex // guards what follows
	leave  string     // decodes below a function with this in its name do not count
	counts Counts     // nil: nothing is counted
	nested int
}

func init() { json.OnDecode = record }

// Count runs work and returns the decodes that happened meanwhile, in all goroutines.
// Those on behalf of a function whose name contains leave do not count. Those within
// another decode, by a value's UnmarshalJSON, are returned as nested.
func Count(leave string, work func()) (counts Counts, nested int) {
	counter.mu.Lock()
	counter.leave, counter.counts, counter.nested = leave, Counts{}, 0
	counter.mu.Unlock()
	work()
	counter.mu.Lock()
	defer counter.mu.Unlock()
	counts, counter.counts = counter.counts, nil
	return counts, counter.nested
}

// record counts the decode that has just begun.
func record() {
	counter.mu.Lock()
	defer counter.mu.Unlock()
	if counter.counts == nil {
		return
	}
	switch site, k := asking(stack()); k {
	case counted:
		counter.counts[site]++
	case withinAnother:
		counter.nested++
	}
}

// stack returns the names of the functions from the caller of the decode on outwards.
func stack() []string {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	var names []string
	inLibrary, outside := false, false
	for {
		frame, more := frames.Next()
		library := strings.HasPrefix(frame.Function, "encoding/json.")
		inLibrary = inLibrary || library
		outside = outside || inLibrary && !library
		if outside {
			names = append(names, frame.Function)
		}
		if !more {
			return names
		}
	}
}

const module = "fairlead.dev/fairlead/"

// kind says how a decode counts.
type kind int

const (
	counted kind = iota
	withinAnother
	leftOut
)

// asking names the project's function that asked for the decode, and the one that it
// called for it.
func asking(stack []string) (site string, k kind) {
	for i, name := range stack {
		switch {
		case counter.leave != "" && strings.Contains(name, counter.leave):
			return "", leftOut
		case strings.HasPrefix(name, "encoding/json."):
			k = withinAnother
		}
		own, isOurs := strings.CutPrefix(name, module)
		if isOurs && site == "" {
			site = own
			if i > 0 {
				site += " by " + stack[i-1]
			}
		}
	}
	if site == "" && len(stack) > 0 {
		site = stack[0]
	}
	return site, k
}
