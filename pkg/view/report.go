package view

import (
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

// Report is the content of Status, for scripts.
type Report struct {
	Healthy bool         `json:"healthy"`
	Nodes   []NodeReport `json:"nodes"`
	Clashes []string     `json:"clashes"` // problems of the nodes together
}

// NodeReport is one node of a Report.
type NodeReport struct {
	Node       string                `json:"node"`
	Build      string                `json:"build,omitempty"`
	PFs        int                   `json:"pfs"`
	VFs        int                   `json:"vfs"`
	Sandboxes  int                   `json:"sandboxes"`
	Tombstones int                   `json:"tombstones"`
	Pools      []state.PoolReport    `json:"pools"`
	Profiles   []state.ProfileReport `json:"profiles"`
	Failing    []state.FailingPod    `json:"failing"`
	Problems   []problem.Problem     `json:"problems"`
}

// NewReport sums the nodes up.
func NewReport(states []state.State) Report {
	r := Report{Healthy: Healthy(states), Nodes: []NodeReport{}, Clashes: append([]string{}, Clashes(states)...)}
	for _, s := range Merge(states) {
		r.Nodes = append(r.Nodes, NodeReport{Node: s.Node, Build: s.Build, PFs: len(s.PFs), VFs: vfCount(s), Sandboxes: len(s.Sandboxes),
			Tombstones: s.Tombstones, Pools: s.Pools, Profiles: s.Profiles, Failing: s.Failing, Problems: s.Problems})
	}
	return r
}
