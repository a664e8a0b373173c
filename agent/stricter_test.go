package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/deployments/examples"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/problem"
)

// devices C12: an upgrade brings stricter rules. Neither the text in the memory nor the one at
// the API server is valid by them, and the node keeps its pools. The stricter
// rules are those of today; the earlier agent is imitated by its file, in which the texts are
// invalid today, and the values are from when they were valid.
func TestStricterRulesKeepThePools(t *testing.T) {
	const all = "intel.com/legacy fairlead.dev/fast"
	for _, tt := range []struct {
		name, configMap, old, now, want string
	}{
		{"profiles", "fairlead-profiles", `vfs: "0-3"`, `vfs: "0-9"`, "fairlead-profiles/a.yaml"},
		{"device plugin", "fairlead-device-plugin", `"resourceName": "legacy"`, `"resourceName": "a b"`, "resourceList[0]"},
		{"each alone is valid, not both", "fairlead-device-plugin", `"resourceName": "legacy"`,
			`"resourcePrefix": "fairlead.dev", "resourceName": "fast", "excludeTopology": true`, "excludeTopology"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			a := &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
				"fairlead-profiles":      {"a.yaml": goodProfile},
				"fairlead-device-plugin": {"config.json": goodPools},
			}}
			newDeclared(t, dir, a).read()
			for key, text := range a.configMaps[tt.configMap] {
				a.configMaps[tt.configMap][key] = strings.Replace(text, tt.old, tt.now, 1)
			}
			rewrite(t, filepath.Join(dir, "state", "declared.json"), a.configMaps)
			for start, from := range map[string]*api{"after the upgrade": a, "without the API server": {}} {
				m, problems := newDeclared(t, dir, from).read()
				if resources(m) != all {
					t.Errorf("%s: pools %q, want %q", start, resources(m), all)
				}
				if len(problems) != 1 || !strings.Contains(problems[0].Text, tt.want) || !strings.Contains(problems[0].Text, "stays in effect") {
					t.Errorf("%s: problems %q, want one that names %q", start, problems, tt.want)
				}
			}
			a.configMaps["fairlead-profiles"], a.configMaps["fairlead-device-plugin"] = map[string]string{"a.yaml": goodProfile}, map[string]string{"config.json": goodPools}
			if m, problems := newDeclared(t, dir, a).read(); resources(m) != all || len(problems) > 0 {
				t.Errorf("after the correction: pools %q, problems %q", resources(m), problems)
			}
		})
	}
}

// An agent that does not understand the format of the values must not guess.
func TestValuesOfAnotherFormatAreNotUsed(t *testing.T) {
	for text, want := range map[string]bool{
		`{"format": 1, "pools": [{"Resource": "a/b"}]}`: true, `{"format": 2, "pools": [{"Resource": "a/b"}]}`: false,
		`{"format": 2, "pools": "of another type"}`: false, `{"format": 1, "pools": "of another type"}`: false, ``: false, `null`: false,
	} {
		if got := (&memory{Parsed: json.RawMessage(text)}).recalled() != nil; got != want {
			t.Errorf("%s is used: %t, want %t", text, got, want)
		}
	}
}

// The same for attachment policies: without any, no pod would get a network.
func TestStricterRulesKeepThePolicies(t *testing.T) {
	dir := t.TempDir()
	a := &api{configMaps: map[string]map[string]string{"fairlead-policies": {"a.yaml": strictPolicy}}}
	testPolicies(t, dir, a)
	a.configMaps["fairlead-policies"] = map[string]string{"a.yaml": invalidPolicy}
	rewrite(t, filepath.Join(dir, "state", "policies.json"), a.configMaps)
	p := testPolicies(t, dir, a)
	if got := inEffect(t, p); got != "refused" || !strings.Contains(problem.Join(p.problem(), ""), "stay in effect") {
		t.Errorf("after the upgrade: %s, problems %q", got, p.problem())
	}
}

// rewrite changes the texts in a memory, and leaves their values.
func rewrite(t *testing.T, path string, configMaps map[string]map[string]string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatal(err)
	}
	if content["parsed"] == nil {
		t.Fatalf("no values in %s", data)
	}
	content["configMaps"] = configMaps
	if data, err = json.Marshal(content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever can be declared comes back from the memory as it was.
func TestParsedValuesSurviveTheFile(t *testing.T) {
	want := parsed{Format: parsedFormat}
	for _, dir := range []string{"profiles", "policies"} {
		entries, err := examples.Files.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			text, err := examples.Files.ReadFile(dir + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			profiles, policies := parseExample(t, dir, text)
			want.Profiles, want.Policies = append(want.Profiles, profiles...), append(want.Policies, policies...)
		}
	}
	var err error
	if want.Pools, err = config.ParseDevicePluginConfig([]byte(`{"resourceList": [{"resourceName": "a", "additionalInfo": {"*": {"token": "x"}}, "selectors": [
		{"vendors": ["8086"], "pfNames": ["pf0#0-3,5"], "rootDevices": ["0000:3b:00.0#1"], "pciAddresses": ["0000:3b:02.1"]}]}]}`), "test", "intel.com"); err != nil {
		t.Fatal(err)
	}
	if want.Model, err = config.Build(want.Profiles, want.Pools, nil, "fairlead.dev"); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got parsed
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	wantExported(t, reflect.TypeFor[parsed](), map[reflect.Type]bool{})
}

func parseExample(t *testing.T, dir string, text []byte) (profiles []config.Declaration, policies []config.Policy) {
	t.Helper()
	var err error
	if dir == "profiles" {
		profiles, err = config.ParseProfile(text, "test")
	} else {
		policies, err = config.ParsePolicy(text, "test")
	}
	if err != nil {
		t.Fatal(err)
	}
	return profiles, policies
}

// wantExported fails if a type has a field that its JSON would lose.
func wantExported(t *testing.T, of reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	if seen[of] {
		return
	}
	seen[of] = true
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
		wantExported(t, of.Elem(), seen)
	case reflect.Struct:
		if of.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()) {
			return
		}
		for i := range of.NumField() {
			if f := of.Field(i); !f.IsExported() || f.Tag.Get("json") == "-" {
				t.Errorf("%s.%s is not in the file", of, f.Name)
			} else {
				wantExported(t, f.Type, seen)
			}
		}
	case reflect.Func, reflect.Chan, reflect.Interface:
		t.Errorf("%s cannot be in a file", of)
	}
}
