package view

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

// Status draws the nodes' health: one line per node, then the pools, the profiles, the pods
// whose networks cannot be made, and every problem in full.
func Status(states []state.State, o Options) string {
	states = Merge(states)
	var out strings.Builder
	table(&out, fit(nodeRows(states), o.Width, "BUILD", "SANDBOXES"))
	if rows := poolRows(states); len(rows) > 1 {
		out.WriteByte('\n')
		table(&out, fit(rows, o.Width, "DECLARED BY", "HEALTHY"))
	}
	if rows := profileRows(states); len(rows) > 1 {
		out.WriteByte('\n')
		table(&out, fit(rows, o.Width))
	}
	writeLines(&out, "FAILING PODS", failingLines(states), o)
	writeLines(&out, "PROBLEMS", problemLines(states), o)
	return out.String()
}

// Healthy reports whether there are no problems, on any node or between nodes.
func Healthy(states []state.State) bool {
	if len(Clashes(states)) > 0 {
		return false
	}
	for _, s := range Merge(states) {
		if len(s.Problems) > 0 {
			return false
		}
	}
	return true
}

func nodeRows(states []state.State) [][]string {
	rows := [][]string{{"NODE", "PFS", "VFS", "SANDBOXES", "TOMBSTONES", "BUILD", "STATE"}}
	for _, s := range states {
		health := "ok"
		if n := len(s.Problems); n > 0 {
			health = count(n, "problem")
		}
		if n := len(s.Failing); n > 0 {
			health += ", " + count(n, "failing pod")
		}
		rows = append(rows, []string{s.Node, strconv.Itoa(len(s.PFs)), strconv.Itoa(vfCount(s)),
			strconv.Itoa(len(s.Sandboxes)), strconv.Itoa(s.Tombstones), s.Build, health})
	}
	return rows
}

func poolRows(states []state.State) [][]string {
	rows := [][]string{{"NODE", "POOL", "CAPACITY", "HEALTHY", "ALLOCATED", "FREE", "DECLARED BY"}}
	for _, s := range states {
		for _, p := range s.Pools {
			name := p.Resource
			if p.Idle {
				name += " (idle)"
			}
			rows = append(rows, []string{s.Node, name, strconv.Itoa(p.Capacity), strconv.Itoa(p.Healthy),
				strconv.Itoa(p.Allocated), strconv.Itoa(p.Free), p.Source})
		}
	}
	return rows
}

func profileRows(states []state.State) [][]string {
	rows := [][]string{{"NODE", "PROFILE", "READY", "MESSAGE"}}
	for _, s := range states {
		for _, p := range s.Profiles {
			ready := "no"
			if p.Ready {
				ready = "yes"
			}
			rows = append(rows, []string{s.Node, p.Name, ready, profileMessage(s, p)})
		}
	}
	return rows
}

// profileMessage leaves a message out that is among the problems below.
func profileMessage(s state.State, p state.ProfileReport) string {
	below := func(o problem.Problem) bool { return p.Message != "" && strings.Contains(o.Text, p.Message) }
	if !p.Ready && slices.ContainsFunc(s.Problems, below) {
		return "see PROBLEMS"
	}
	return p.Message
}

// failingLines has one line for each pod whose networks cannot be made.
func failingLines(states []state.State) []string {
	var lines []string
	for _, s := range states {
		for _, f := range s.Failing {
			where := ""
			if f.Network != "" {
				where = "network " + f.Network + ", "
			}
			if f.IfName != "" {
				where += "interface " + f.IfName + ", "
			}
			if f.Step != "" {
				where += f.Step + ": "
			}
			lines = append(lines, s.Node+": pod "+f.Pod.String()+": "+where+f.Cause+" ("+count(f.Count, "time")+", "+ago(s.Time.Sub(f.Last))+")")
		}
	}
	return lines
}

// ago writes how long ago something was, as coarse as people say it.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s ago"
	}
	return strconv.Itoa(int(d.Minutes())) + " min ago"
}

func problemLines(states []state.State) []string {
	var lines []string
	for _, s := range states {
		for _, p := range s.Problems {
			lines = append(lines, s.Node+": "+p.Text)
		}
	}
	return append(lines, Clashes(states)...)
}

// writeLines writes lines below a heading. One that is too long continues below, indented.
func writeLines(out *strings.Builder, heading string, lines []string, o Options) {
	if len(lines) == 0 {
		return
	}
	t := newTree(o.Width, false)
	for _, line := range lines {
		t.line("", "  ", []segment{{line, plain}})
	}
	out.WriteString("\n" + heading + "\n" + t.out.String())
}
