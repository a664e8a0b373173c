package view

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/state"
)

// lab, words at 3 a.m.: a VF is found by its pod, its netdev here or before, and its PF.
func TestVFIsFoundByEveryName(t *testing.T) {
	states := []state.State{busyNode()}
	for name, want := range map[string]string{
		"demo/alpha": "node1 0000:02:10.0: VF 0 of pf0\n", "alpha": "node1 0000:02:10.0: VF 0 of pf0\n",
		"demo/adrift": "node1 0000:02:11.2: VF 5 of pf0\n", "pf0v1": "node1 0000:02:10.2: VF 1 of pf0\n", "pf0v0": "node1 0000:02:10.0: VF 0 of pf0\n",
		"pf0": "NODE   PF   VF", "0000:02:00.0": "NODE   PF   VF",
	} {
		got, err := VF(states, name, Options{})
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("VF(%s) = %v\n%s", name, err, got)
		}
		if table := strings.HasPrefix(want, "NODE"); table && (strings.Contains(got, "pf1") || strings.Count(got, "\n") != 7) {
			t.Errorf("VF(%s) draws other PFs too:\n%s", name, got)
		}
	}
	for name, want := range map[string]string{"pf0/9": `no VF "pf0/9": pf0 has VF 0 to 5`, "vf7": `no VF "vf7": give a PCI address`,
		"demo/alhpa": `no VF "demo/alhpa": did you mean demo/alpha?`} {
		if _, err := VF(states, name, Options{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("VF(%s) = %v, want %s", name, err, want)
		}
	}
}

// lab, words at 3 a.m.: the table keeps to 80 columns as long as its names let it.
func TestVFTableKeepsToTheWidth(t *testing.T) {
	for width := 76; width <= 160; width++ {
		for line := range strings.Lines(VFs([]state.State{busyNode(), quietNode()}, Options{Width: width})) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d columns: %q", width, n, line)
			}
		}
	}
}

// lab, words at 3 a.m.: "status is over 200 wide".
func TestStatusKeepsToTheWidth(t *testing.T) {
	for width := 76; width <= 160; width++ {
		for line := range strings.Lines(Status([]state.State{busyNode(), quietNode()}, Options{Width: width})) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: a line of %d columns: %q", width, n, line)
			}
		}
	}
}

func TestReport(t *testing.T) {
	r := NewReport([]state.State{quietNode(), busyNode()})
	if r.Healthy || len(r.Nodes) != 2 || r.Nodes[0].Node != "node1" || r.Nodes[0].VFs != 13 || len(r.Nodes[0].Problems) != 3 || r.Clashes == nil {
		t.Errorf("report %+v", r)
	}
}
