package network

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write golden files anew")

// planCase is a file of testdata/plan: a pod's requests, and the objects and devices that
// exist.
type planCase struct {
	Pod         map[string]string   `json:"pod"` // annotations by short name: networks, default
	Devices     map[string][]string `json:"devices"`
	Definitions map[string]struct {
		Resource string `json:"resource"`
		Config   string `json:"config"`
	} `json:"definitions"` // by name; in namespace default unless the name has another
	RuntimeConfig map[string]any `json:"runtimeConfig"`
	Pools         []string       `json:"pools"`
	Requests      []Request      `json:"requests"`
}

// TestPlan turns annotations and net-attach-defs into the plan as text.
func TestPlan(t *testing.T) {
	files, err := filepath.Glob("testdata/plan/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c planCase
			if err := yaml.UnmarshalStrict(raw, &c); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", c.run())
		})
	}
}

func (c planCase) run() string {
	in := Input{SandboxID: "c0ffee", PrimaryIfName: "eth0", CNIArgs: "K8S_POD_NAME=p", RuntimeConfig: c.RuntimeConfig,
		Devices: c.Devices, Pools: c.Pools, Definitions: map[string]Definition{},
		DeviceInfoPath: func(name string) string { return "/devinfo/" + name }}
	in.Pod.Requests = c.Requests
	var err error
	if in.Selections, err = ParseSelections(c.Pod["networks"], "default"); err != nil {
		return "error: " + err.Error() + "\n"
	}
	primary, ok, err := ParseDefaultNetwork(c.Pod["default"], "default")
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	if ok {
		in.Default = &primary
	}
	for name, d := range c.Definitions {
		namespace, object, found := strings.Cut(name, "/")
		if !found {
			namespace, object = "default", name
		}
		definition, err := ParseDefinition(namespace, object, d.Config, map[string]string{ResourceAnnotation: d.Resource})
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		in.Definitions[definition.Network()] = definition
	}
	plan, err := Resolve(in)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return text(plan)
}

func text(plan []Planned) string {
	var b strings.Builder
	for _, p := range plan {
		fmt.Fprintf(&b, "%s  %s", p.IfName, p.Network)
		for _, word := range []struct {
			shown bool
			text  string
		}{
			{p.Primary, "primary"}, {p.Resource != "", "resource=" + p.Resource}, {p.Device != "", "device=" + p.Device},
			{len(p.Named) > 0, namedText(p.Named)}, {p.Fallback, "fallback"}, {len(p.DefaultRoute) > 0, fmt.Sprintf("default-route=%v", p.DefaultRoute)},
		} {
			if word.shown {
				b.WriteString("  " + word.text)
			}
		}
		fmt.Fprintf(&b, "\n    CNI_ARGS %s\n", p.CNIArgs)
		for _, name := range slices.Sorted(maps.Keys(p.Capabilities)) {
			fmt.Fprintf(&b, "    offers %s = %s\n", name, compact(p.Capabilities[name]))
		}
		fmt.Fprintf(&b, "    list %s %s\n", p.List.Name, p.List.CNIVersion)
		for _, plugin := range p.List.Plugins {
			fmt.Fprintf(&b, "    %s %s\n", plugin.Type, compact(plugin.Fields))
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func namedText(named []NamedDevice) string {
	var words []string
	for _, n := range named {
		words = append(words, fmt.Sprintf("named=%s (%s)", n.Address, n.By))
	}
	return strings.Join(words, "  ")
}

func compact(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s:\n%s", file, diff)
	}
}

// m#499, m#1481, cni#215, lab "two containers with a VF each": the networks get the devices in
// the order of the containers, and equal inputs give equal plans.
func TestPlanFollowsTheOrderOfTheContainers(t *testing.T) {
	for _, order := range [][]string{
		{"0000:3b:02.1", "0000:3b:02.2", "0000:3b:02.3"},
		{"0000:3b:02.3", "0000:3b:02.1", "0000:3b:02.3", "0000:3b:02.2"},
	} {
		var first string
		for range 10 {
			c := planCase{Pod: map[string]string{"networks": "a, b, a"}, Devices: map[string][]string{"x.io/fast": order}}
			if err := yaml.Unmarshal([]byte(`{a: {resource: x.io/fast, config: '{"type":"sriov"}'}, b: {resource: x.io/fast, config: '{"type":"sriov"}'}}`), &c.Definitions); err != nil {
				t.Fatal(err)
			}
			got := c.run()
			if first == "" {
				first = got
			}
			if got != first {
				t.Fatalf("got:\n%swas:\n%s", got, first)
			}
		}
		for i, device := range once(order) {
			if !strings.Contains(first, fmt.Sprintf("net%d  default/%c  resource=x.io/fast  device=%s", i+1, "aba"[i], device)) {
				t.Errorf("net%d has not %s:\n%s", i+1, device, first)
			}
		}
	}
}

func TestIsolation(t *testing.T) {
	list, err := ParseSelections("mine, global/a, other/b", "ns")
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckIsolation(list[:2], "ns", []string{"global"}); err != nil {
		t.Error(err)
	}
	err = CheckIsolation(list, "ns", []string{"global"})
	if err == nil || !strings.Contains(err.Error(), "other/b") || !strings.Contains(err.Error(), "ns or of global") {
		t.Errorf("got %v", err)
	}
}
