package main

import (
	"regexp"
	"time"
)

// callLine is the agent's line about a CNI call, with the runtime's time before it.
var callLine = regexp.MustCompile(`msg="CNI call (done|failed)" command=(\w+) .*pod=` + namespace + `/(\S+) .*took=(\S+)`)

// addCalls counts the calls in the agents' logs that are not counted yet.
func (t *tally) addCalls(lines []string) {
	for _, line := range lines {
		m := callLine.FindStringSubmatch(line)
		if m == nil || !t.newCall(line) {
			continue
		}
		took, err := time.ParseDuration(m[4])
		if err != nil {
			continue // a line that was cut off as its writer was killed
		}
		t.count("CNI calls "+m[1], m[2])
		if m[1] == "done" {
			t.took("CNI "+m[2], took)
		}
	}
}

func (t *tally) newCall(line string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.calls[line] {
		return false
	}
	t.calls[line] = true
	return true
}
