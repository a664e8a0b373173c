package view

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

// Status draws the nodes' health: one line per node, then the pools, the
// profiles, and every problem in full.
func Status(states []state.State) string {
	states = Merge(states)
	var out strings.Builder
	table(&out, nodeRows(states))
	if rows := poolRows(states); len(rows) > 1 {
		out.WriteByte('\n')
		table(&out, rows)
	}
	if rows := profileRows(states); len(rows) > 1 {
		out.WriteByte('\n')
		table(&out, rows)
	}
	writeProblems(&out, states)
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

func writeProblems(out *strings.Builder, states []state.State) {
	var lines []string
	for _, s := range states {
		for _, p := range s.Problems {
			lines = append(lines, s.Node+": "+p.Text)
		}
	}
	lines = append(lines, Clashes(states)...)
	if len(lines) > 0 {
		out.WriteString("\nPROBLEMS\n" + strings.Join(lines, "\n") + "\n")
	}
}
