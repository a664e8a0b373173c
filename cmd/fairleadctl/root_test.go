package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/view"
)

func node(name string, problems ...string) state.State {
	pf := pci.MustParseAddress("0000:02:00.0")
	var reported []problem.Problem
	for _, text := range problems {
		reported = append(reported, problem.Problem{Text: text})
	}
	return state.Build(state.Input{Node: name, Problems: reported, PFs: []device.PF{{
		Address: pf, Netdev: "pf0", Vendor: "8086", Device: "10c9", NUMANode: -1, TotalVFs: 7, NumVFs: 1,
		VFs: []device.VF{{Address: pci.MustParseAddress("0000:02:10.0"), PF: pf, Driver: "igbvf", Netdev: "pf0v0"}},
	}}})
}

func save(t *testing.T, s state.State) string {
	t.Helper()
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), s.Node+".json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func fairleadctl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot(terminal{in: strings.NewReader(stdin), out: &out, errOut: &out})
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestTopologyMergesFiles(t *testing.T) {
	out, err := fairleadctl(t, "", "topology", save(t, node("node2")), save(t, node("node1")))
	if err != nil {
		t.Fatal(err)
	}
	first, second := strings.Index(out, "node1  1 PF"), strings.Index(out, "node2  1 PF")
	if first < 0 || second < first {
		t.Errorf("both nodes must be drawn, node1 first:\n%s", out)
	}
}

func TestStateAsksTheAgentAndRoundTrips(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: state.Handler(func(context.Context) (state.State, error) { return node("node7"), nil }, func() error { return nil })}
	go server.Serve(listener) // ends with Close
	t.Cleanup(func() { server.Close() })

	printed, err := fairleadctl(t, "", "--socket", socket, "state", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	drawn, err := fairleadctl(t, printed, "topology", "-")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(drawn, "node7  1 PF  1 VF") {
		t.Errorf("the printed state, read from standard input, is drawn as\n%s", drawn)
	}
}

// The output for several files can be read back as one.
func TestStatesOfSeveralFilesRoundTrip(t *testing.T) {
	printed, err := fairleadctl(t, "", "state", "-o", "json", "-f", save(t, node("node2")), "-f", save(t, node("node1")))
	if err != nil {
		t.Fatal(err)
	}
	again, err := fairleadctl(t, printed, "state", "-o", "json", "-f", "-")
	if err != nil || again != printed {
		t.Errorf("what was printed is read as %v\n%s", err, again)
	}
	if _, err := fairleadctl(t, printed+"{", "status", "-f", "-"); err == nil || !strings.Contains(err.Error(), "not a node state") {
		t.Errorf("with a torn end: %v", err)
	}
	if _, err := fairleadctl(t, "", "status", "-f", "-"); err == nil || !strings.Contains(err.Error(), "not a node state") {
		t.Errorf("empty: %v", err)
	}
}

func TestStatusTellsProblemsFromNoAnswer(t *testing.T) {
	if out, err := fairleadctl(t, "", "status", "-f", save(t, node("node1"))); err != nil {
		t.Errorf("status of a healthy node = %v\n%s", err, out)
	}
	out, err := fairleadctl(t, "", "status", "-f", save(t, node("node1", "pool fast: no device")))
	if !errors.Is(err, errProblems) || !strings.Contains(out, "node1: pool fast: no device") {
		t.Errorf("status of a node with a problem = %v\n%s", err, out)
	}
	_, err = fairleadctl(t, "", "status", "--socket", filepath.Join(t.TempDir(), "none"))
	if err == nil || errors.Is(err, errProblems) {
		t.Errorf("status with no agent = %v, want an error of its own", err)
	}
}

func TestVersion(t *testing.T) {
	if out, err := fairleadctl(t, "", "--version"); err != nil || out != "fairleadctl version dev\n" {
		t.Errorf("--version = %v, %q", err, out)
	}
}

func TestVFIsFoundByAddressAndByName(t *testing.T) {
	file := save(t, node("node1"))
	for _, name := range []string{"0000:02:10.0", "pf0/0"} {
		out, err := fairleadctl(t, "", "vf", "-f", file, name)
		if err != nil || !strings.HasPrefix(out, "node1 0000:02:10.0: VF 0 of pf0\n") {
			t.Errorf("vf %s = %v\n%s", name, err, out)
		}
	}
	out, err := fairleadctl(t, "", "vf", "-f", file)
	if err != nil || !strings.Contains(out, "node1  pf0  0   0000:02:10.0") {
		t.Errorf("vf = %v\n%s", err, out)
	}
}

func TestBadArgumentsAreNamed(t *testing.T) {
	file := save(t, node("node1"))
	notState := filepath.Join(t.TempDir(), "x.json")
	if err := os.WriteFile(notState, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"state", "-f", file, "-o", "xml"}, "--output xml: known are text, wide, json, yaml"},
		{[]string{"topology", notState}, "x.json: not a node state"},
		{[]string{"topology", "/no/such/file"}, "/no/such/file: no such file"},
		{[]string{"vf", "-f", file, "pf0/9"}, `no VF "pf0/9"`},
		{[]string{"nonsense"}, `unknown command "nonsense": 'fairleadctl --help' lists all`},
		{[]string{"topolgy"}, `unknown command "topolgy": did you mean topology?`},
		{[]string{"vf", "-f", file, "-o", "json"}, "--output json: only wide is known"},
		{[]string{"status", "-f", file, "-o", "yaml"}, "--output yaml: known are text, wide, json"},
		{[]string{"status", "--sokcet", "x"}, "unknown flag: --sokcet: did you mean --socket?"},
		{[]string{"vf", "--zzzzzz"}, "unknown flag: --zzzzzz: 'fairleadctl vf --help' lists all"},
	}
	for _, test := range tests {
		if _, err := fairleadctl(t, "", test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("fairleadctl %v = %v, want an error with %q", test.args, err, test.want)
		}
	}
}

// lab, words at 3 a.m.: fairleadctl lacks state -o yaml. It has the fields of the JSON.
func TestStateAsYAML(t *testing.T) {
	out, err := fairleadctl(t, "", "state", "-o", "yaml", "-f", save(t, node("node1")), "-f", save(t, node("node2")))
	if err != nil || strings.Count(out, "---\n") != 2 || !strings.Contains(out, "node: node1\n") || !strings.Contains(out, "- address: \"0000:02:00.0\"") && !strings.Contains(out, "- address: 0000:02:00.0") {
		t.Errorf("%v\n%s", err, out)
	}
}

// lab, words at 3 a.m.: status fits 80 columns, and -o wide does not break lines.
func TestWideStatus(t *testing.T) {
	long := strings.Repeat("a long text ", 20)
	file := save(t, node("node1", long))
	for args, want := range map[string]int{"": 80, "wide": 247} {
		var written bytes.Buffer
		root := newRoot(terminal{out: &written, errOut: &written, drawing: view.Options{Width: 80}})
		root.SetArgs([]string{"status", "-o", args, "-f", file})
		_ = root.ExecuteContext(t.Context()) // the node has a problem
		out := written.String()
		widest := 0
		for line := range strings.Lines(out) {
			widest = max(widest, len(strings.TrimSuffix(line, "\n")))
		}
		if widest > want || widest < want-12 {
			t.Errorf("-o %q: %d columns, want about %d\n%s", args, widest, want, out)
		}
	}
}

// lab, words at 3 a.m.: status is there for scripts, with the same exit codes.
func TestStatusAsJSON(t *testing.T) {
	out, err := fairleadctl(t, "", "status", "-o", "json", "-f", save(t, node("node1", "pool fast: no device")))
	var report struct {
		Healthy bool
		Nodes   []struct {
			Node     string
			Problems []problem.Problem
		}
	}
	if !errors.Is(err, errProblems) || json.Unmarshal([]byte(out), &report) != nil || report.Healthy || len(report.Nodes) != 1 || len(report.Nodes[0].Problems) != 1 {
		t.Errorf("status -o json = %v\n%s", err, out)
	}
}

func TestVersionOfProgramAndAgent(t *testing.T) {
	s := node("node1")
	s.Build = "v1.2.3"
	out, err := fairleadctl(t, "", "version", "-f", save(t, s))
	if err != nil || out != "fairleadctl dev\nagent on node1 v1.2.3\n" {
		t.Errorf("version = %v\n%s", err, out)
	}
	out, err = fairleadctl(t, "", "version", "--socket", filepath.Join(t.TempDir(), "none"))
	if err == nil || out != "fairleadctl dev\n" {
		t.Errorf("version without an agent = %v\n%s", err, out)
	}
}

// lab, words at 3 a.m.: drawings fit the terminal; -o wide has everything.
func TestWideDrawings(t *testing.T) {
	file := save(t, node("node1"))
	for _, command := range []string{"topology", "vf"} {
		var outputs []string
		for _, args := range [][]string{{command, "-f", file}, {command, "-f", file, "-o", "wide"}} {
			var out bytes.Buffer
			root := newRoot(terminal{out: &out, errOut: &out, drawing: view.Options{Width: 40}})
			root.SetArgs(args)
			if err := root.ExecuteContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			outputs = append(outputs, out.String())
		}
		if outputs[0] == outputs[1] || strings.Contains(outputs[1], "…") {
			t.Errorf("%s:\n%s-o wide:\n%s", command, outputs[0], outputs[1])
		}
	}
}
