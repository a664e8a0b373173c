package view

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

func TestTopologyIsDrawn(t *testing.T) {
	states := []state.State{quietNode(), busyNode()}
	checkGolden(t, "topology.txt", Topology(states, Options{}))
	checkGolden(t, "topology-72.txt", Topology(states, Options{Width: 72}))
	checkGolden(t, "topology-24.txt", Topology(states, Options{Width: 24}))
	checkGolden(t, "topology-colour.txt", Topology([]state.State{quietNode()}, Options{Colour: true}))
}

func TestTablesAreDrawn(t *testing.T) {
	states := []state.State{quietNode(), busyNode()}
	checkGolden(t, "status.txt", Status(states, Options{}))
	checkGolden(t, "status-80.txt", Status(states, Options{Width: 80}))
	checkGolden(t, "vfs.txt", VFs(states, Options{}))
	checkGolden(t, "vfs-80.txt", VFs(states, Options{Width: 80}))
	checkGolden(t, "status-empty.txt", Status([]state.State{state.Build(state.Input{Node: "node3"})}, Options{}))
}

func TestOneVFIsDescribed(t *testing.T) {
	states := []state.State{busyNode()}
	for _, name := range []string{"0000:02:10.0", "02:10.0", "pf0/0"} {
		got, err := VF(states, name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, "vf-held.txt", got)
	}
	got, err := VF(states, "pf0/1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "vf-allocated.txt", got)
}

// Inside a virtual machine no PF is visible: the VFs are drawn, listed and found.
func TestVFsWithoutAPF(t *testing.T) {
	states := []state.State{guest()}
	vf, err := VF(states, "00:05.0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "lone.txt", Status(states, Options{})+"\n"+Topology(states, Options{})+"\n"+VFs(states, Options{})+"\n"+vf)
}

// reports 8: PFs and NICs that pods get as a whole are drawn, listed and found.
func TestWholeFunctions(t *testing.T) {
	states := []state.State{wholeNode()}
	var found string
	for _, name := range []string{"02:00.0", "eth1"} {
		one, err := VF(states, name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		found += "\n" + one
	}
	checkGolden(t, "whole.txt", Status(states, Options{})+"\n"+Topology(states, Options{})+"\n"+VFs(states, Options{})+found)
}

// A PF whose driver is not bound has no netdev to name it by.
func TestVFIsFoundByItsPFsAddress(t *testing.T) {
	s := busyNode()
	s.PFs[0].Netdev = ""
	for _, name := range []string{"0000:02:00.0/1", "02:00.0/1"} {
		if got, err := VF([]state.State{s}, name, Options{}); err != nil || !strings.HasPrefix(got, "node1 0000:02:10.2: VF 1 of 0000:02:00.0\n") {
			t.Errorf("VF(%s) = %v\n%s", name, err, got)
		}
	}
}

func TestUnknownVFSaysHowToNameOne(t *testing.T) {
	_, err := VF([]state.State{busyNode()}, "pf9/1", Options{})
	want := "no VF \"pf9/1\": give a PCI address (0000:3b:02.1), PF/INDEX (ens1f0/3), a netdev, a PF, or a pod that holds one (namespace/name); `fairleadctl vf` lists them"
	if err == nil || err.Error() != want {
		t.Errorf("VF(pf9/1) = %v, want %s", err, want)
	}
}

// Lines never exceed the terminal's width, however narrow it is, and colour changes no letter.
func TestTopologyKeepsToTheWidth(t *testing.T) {
	states := []state.State{busyNode(), quietNode()}
	for width := 1; width <= 200; width++ {
		drawn := Topology(states, Options{Width: width})
		for line := range strings.Lines(drawn) {
			if n := columns(strings.TrimSuffix(line, "\n")); n > max(width, minWidth) {
				t.Fatalf("width %d: a line of %d columns: %q", width, n, line)
			}
		}
		if stripped := strip(Topology(states, Options{Width: width, Colour: true})); stripped != drawn {
			t.Fatalf("width %d: with colour the text is another one:\n%s", width, stripped)
		}
	}
}

func strip(s string) string {
	for _, code := range escapes {
		if code != "" {
			s = strings.ReplaceAll(s, "\x1b["+code+"m", "")
		}
	}
	return strings.ReplaceAll(s, "\x1b[0m", "")
}

func TestNewerStateOfANodeCounts(t *testing.T) {
	old, fresh := busyNode(), quietNode()
	old.Node, fresh.Node = "node1", "node1"
	fresh.Time = old.Time.Add(1)
	for _, states := range [][]state.State{{old, fresh}, {fresh, old}} {
		got := Merge(states)
		if len(got) != 1 || !got[0].Time.Equal(fresh.Time) {
			t.Errorf("Merge kept %d states, the first of %v; want the one of %v", len(got), got[0].Time, fresh.Time)
		}
	}
}

func TestHealthyIsFalseWithAProblem(t *testing.T) {
	if !Healthy([]state.State{quietNode()}) || Healthy([]state.State{quietNode(), busyNode()}) {
		t.Error("Healthy must be true for the quiet node, and false for both together")
	}
	was, is := busyNode(), quietNode()
	was.Node = is.Node
	is.Time = was.Time.Add(1)
	if states := []state.State{was, is}; !Healthy(states) || strings.Contains(Status(states, Options{}), "problems") {
		t.Error("an older state of a node decides, which status does not show")
	}
}

// w#110: two pods on two nodes with one address.
func TestAddressOnTwoNodesIsReported(t *testing.T) {
	on := func(node, pod, network, ip string) state.State {
		return state.Build(state.Input{Node: node, Sandboxes: []ledger.Sandbox{{ID: pod, Pod: ledger.PodRef{Namespace: "database", Name: pod}, Attachments: []ledger.Attachment{
			{Network: "cbr0", IfName: "eth0", Result: cniResult("eth0", "", "10.244.0.2/24")},
			{Network: network, IfName: "net1", Result: cniResult("net1", "", ip)},
		}}}})
	}
	tests := []struct {
		name   string
		states []state.State
		want   []string
	}{
		{"one address, two nodes", []state.State{on("node1", "db-0", "database/storage", "10.56.1.1/16"), on("node2", "db-1", "database/storage", "10.56.1.1/16")},
			[]string{"network database/storage: 10.56.1.1/16 belongs to pod database/db-0 on node1 and to pod database/db-1 on node2: host-local allocates on each node separately; give each node its own range, or the pods static addresses"}},
		{"two addresses", []state.State{on("node1", "db-0", "database/storage", "10.56.1.1/16"), on("node2", "db-1", "database/storage", "10.56.1.2/16")}, nil},
		{"two networks", []state.State{on("node1", "db-0", "database/storage", "10.56.1.1/16"), on("node2", "db-1", "database/backup", "10.56.1.1/16")}, nil},
		{"one node, seen twice", []state.State{on("node1", "db-0", "database/storage", "10.56.1.1/16"), on("node1", "db-0", "database/storage", "10.56.1.1/16")}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Clashes(test.states)
			if !slices.Equal(got, test.want) {
				t.Errorf("Clashes = %q, want %q", got, test.want)
			}
			if Healthy(test.states) != (test.want == nil) || strings.Contains(Status(test.states, Options{}), "PROBLEMS") != (test.want != nil) {
				t.Error("status must show a clash, and the nodes are not healthy with one")
			}
		})
	}
}

// security S11: names and errors that tenants choose never reach the terminal as escape codes,
// line breaks or invisible letters.
func TestTenantsCannotWriteToTheTerminal(t *testing.T) {
	const evil = "x\x1b]0;owned\a\u202e\u200b\r\n"
	s := busyNode()
	s.Pools[0].Resource = evil
	s.Profiles[0].Message = evil
	s.PFs[0].VFs[0].Holder.IfName, s.PFs[0].VFs[0].Netdev, s.PFs[0].VFs[0].OriginalNetdev = evil, evil, evil
	s.PFs[0].VFs[0].Applied.MAC = evil
	for i := range s.Sandboxes {
		s.Sandboxes[i].Attachments[0].IfName, s.Sandboxes[i].Attachments[0].FallbackFrom = evil, evil
		s.Sandboxes[i].Attachments[0].Network, s.Sandboxes[i].Attachments[0].IPs = evil, []string{"10.9.9.9/24"}
		s.Sandboxes[i].Attachments = append(s.Sandboxes[i].Attachments, s.Sandboxes[i].Attachments[0])
	}
	s.Problems = append(s.Problems, problem.Problem{Text: "plugin failed: " + evil})
	other := busyNode()
	other.Node, other.Sandboxes = "node2", s.Sandboxes
	vf, err := VF([]state.State{s}, "pf0/0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	states := []state.State{s, other}
	for name, text := range map[string]string{"topology": Topology(states, Options{}), "status": Status(states, Options{Width: 80}), "vfs": VFs(states, Options{}), "vf": vf} {
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s: unprintable at %q", name, text[i:min(i+20, len(text))])
		}
		if !strings.Contains(text, `x\x1b]0;owned\a\u202e\u200b\r\n`) {
			t.Errorf("%s does not show the name at all", name)
		}
	}
	if s.PFs[0].VFs[0].Holder.IfName != evil {
		t.Error("the state itself was changed")
	}
}
