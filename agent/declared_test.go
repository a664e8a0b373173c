package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/problem"
)

// api is the cluster as declared sees it; a nil map means that the API server has not answered.
type api struct {
	labels     map[string]string
	mu         sync.Mutex // guards configMaps against set
	configMaps map[string]map[string]string
}

func (a *api) set(name string, data map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.configMaps[name] = data
}

func (a *api) NodeLabels() (map[string]string, bool) { return a.labels, a.labels != nil }

func (a *api) ConfigMap(_, name string) (map[string]string, bool, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	data, exists := a.configMaps[name]
	return data, exists, a.configMaps != nil
}

const (
	goodProfile = `
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: fast}
spec:
  nodeSelector: {nic: "yes"}
  nics: {pfNames: [pf0]}
  pf: {numVFs: 4}
  vfGroups: [{vfs: "0-3", resourceName: fast}]
`
	goodPools = `{"resourceList": [{"resourceName": "legacy", "selectors": {"pfNames": ["pf1"]}}]}`
)

func newDeclared(t *testing.T, dir string, a *api) *declared {
	t.Helper()
	o := Defaults()
	o.ProfilesDir, o.StateDir = filepath.Join(dir, "profiles.d"), filepath.Join(dir, "state")
	o.DevicePluginConfig = filepath.Join(dir, "pcidp", "config.json")
	m, err := openMemory(o.memoryPath())
	if err != nil {
		t.Fatal(err)
	}
	return &declared{o: o, objects: a, memory: m, log: slog.New(slog.DiscardHandler)}
}

func resources(m config.Model) string {
	var names []string
	for _, p := range m.Pools {
		names = append(names, p.Resource)
	}
	return strings.Join(names, " ")
}

func TestDeclaredStateComesFromFilesAndConfigMaps(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "profiles.d", "a.yaml"), goodProfile)
	write(t, filepath.Join(dir, "pcidp", "config.json"), goodPools)
	a := &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{}}
	d := newDeclared(t, dir, a)
	m, problems := d.read()
	if got := resources(m); got != "intel.com/legacy fairlead.dev/fast" || len(problems) > 0 {
		t.Errorf("pools %q, problems %q", got, problems)
	}

	a.configMaps["fairlead-device-plugin"] = map[string]string{"config.json": strings.ReplaceAll(goodPools, "legacy", "newer")}
	if m, _ = d.read(); resources(m) != "intel.com/newer fairlead.dev/fast" {
		t.Errorf("the ConfigMap does not take the file's place: %q", resources(m))
	}

	a.labels = map[string]string{}
	if m, _ = d.read(); resources(m) != "intel.com/newer" || len(m.Profiles) != 0 {
		t.Errorf("a profile for other nodes applies: %q", resources(m))
	}
}

func TestInvalidEditKeepsTheLastGoodPart(t *testing.T) {
	a := &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
		"fairlead-profiles":      {"a.yaml": goodProfile},
		"fairlead-device-plugin": {"config.json": goodPools},
	}}
	d := newDeclared(t, t.TempDir(), a)
	d.read()
	for _, tt := range []struct{ name, configMap, key, text, want string }{
		{"profiles", "fairlead-profiles", "a.yaml", strings.ReplaceAll(goodProfile, "0-3", "0-9"), "a.yaml"},
		{"device plugin", "fairlead-device-plugin", "config.json", `{"resourceList": [{"resourceName": "a b"}]}`, "resourceList"},
		{"device plugin without its key", "fairlead-device-plugin", "config.yaml", goodPools, "no key config.json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := a.configMaps[tt.configMap]
			a.configMaps[tt.configMap] = map[string]string{tt.key: tt.text}
			m, problems := d.read()
			if got := resources(m); got != "intel.com/legacy fairlead.dev/fast" {
				t.Errorf("pools are now %q", got)
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Text, tt.want) || !strings.Contains(problems[0].Text, "stays in effect") {
				t.Errorf("problems %q, want one that names %q", problems, tt.want)
			}
			a.configMaps[tt.configMap] = good
			if _, problems := d.read(); len(problems) > 0 {
				t.Errorf("after the edit was taken back: %q", problems)
			}
		})
	}
}

// dp#502, dp#565: capacity is zero after a restart.
func TestStartWithoutAPIServerRemembers(t *testing.T) {
	dir := t.TempDir()
	newDeclared(t, dir, &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
		"fairlead-profiles": {"a.yaml": goodProfile},
	}}).read()

	away := &api{}
	d := newDeclared(t, dir, away)
	if m, problems := d.read(); resources(m) != "fairlead.dev/fast" || len(problems) > 0 {
		t.Errorf("with the API server away: pools %q, problems %q", resources(m), problems)
	}
	away.labels, away.configMaps = map[string]string{"nic": "yes"}, map[string]map[string]string{}
	if m, _ := d.read(); len(m.Pools) != 0 {
		t.Errorf("the API server says the ConfigMap is gone, and its pools stay: %q", resources(m))
	}
}

// dp#502, dp#565 again: an invalid edit removes no pool, and neither does the agent's next
// start.
func TestInvalidEditOutlastsARestart(t *testing.T) {
	badProfile := strings.ReplaceAll(goodProfile, "0-3", "0-9")
	const badPools = `{"resourceList": [{"resourceName": "a b"}]}`
	for _, tt := range []struct {
		name string
		edit func(dir string, configMaps map[string]map[string]string)
		want string
	}{
		{"device plugin", func(_ string, c map[string]map[string]string) {
			c["fairlead-device-plugin"] = map[string]string{"config.json": badPools}
		}, "resourceList[0]"},
		{"profiles", func(_ string, c map[string]map[string]string) {
			c["fairlead-profiles"] = map[string]string{"a.yaml": badProfile}
		}, "ConfigMap fairlead-system/fairlead-profiles/a.yaml"},
		{"profile file", func(dir string, _ map[string]map[string]string) {
			write(t, filepath.Join(dir, "profiles.d", "b.yaml"), badProfile)
		}, "profiles.d/b.yaml"},
		{"two that are valid alone, not together", func(dir string, _ map[string]map[string]string) {
			write(t, filepath.Join(dir, "profiles.d", "b.yaml"), goodProfile)
		}, "declared in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "profiles.d", "b.yaml"), strings.ReplaceAll(goodProfile, "fast", "file"))
			a := &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
				"fairlead-profiles":      {"a.yaml": goodProfile},
				"fairlead-device-plugin": {"config.json": goodPools},
			}}
			const all = "intel.com/legacy fairlead.dev/fast fairlead.dev/file"
			d := newDeclared(t, dir, a)
			if m, problems := d.read(); resources(m) != all || len(problems) > 0 {
				t.Fatalf("before the edit: pools %q, problems %q", resources(m), problems)
			}
			tt.edit(dir, a.configMaps)
			d.read()
			m, problems := newDeclared(t, dir, a).read()
			if resources(m) != all {
				t.Errorf("after the restart: pools %q, want %q", resources(m), all)
			}
			if len(problems) != 1 || !strings.Contains(problems[0].Text, tt.want) {
				t.Errorf("problems %q, want one that names %q", problems, tt.want)
			}
			again := newDeclared(t, dir, &api{}) // and the API server away
			if m, _ := again.read(); resources(m) != all {
				t.Errorf("after a restart without API server: pools %q, want %q", resources(m), all)
			}
		})
	}
}

// A valid edit takes effect even if another source is invalid, and after a restart too.
func TestRestartKeepsWhatCameAfterAnInvalidEdit(t *testing.T) {
	dir := t.TempDir()
	a := &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
		"fairlead-profiles": {"a.yaml": goodProfile},
	}}
	d := newDeclared(t, dir, a)
	d.read()
	a.configMaps["fairlead-profiles"] = map[string]string{"a.yaml": "spec: ["}
	a.configMaps["fairlead-device-plugin"] = map[string]string{"config.json": goodPools}
	d.read()
	if m, problems := newDeclared(t, dir, a).read(); resources(m) != "intel.com/legacy fairlead.dev/fast" || len(problems) != 1 {
		t.Errorf("pools %q, problems %q", resources(m), problems)
	}
}

func TestDamagedMemoryIsNoMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "declared.json")
	for _, text := range []string{"{", "null", `{"configMaps": null}`} {
		write(t, path, text)
		m, _ := openMemory(path)
		m.ConfigMaps["a"] = map[string]string{"k": "v"} // would panic if the map were nil
		if err := m.save(); err != nil {
			t.Fatal(err)
		}
		if again, err := openMemory(path); err != nil || again.ConfigMaps["a"]["k"] != "v" {
			t.Errorf("after %q: %v, %v", text, again, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// devices A6: the SR-IOV operator's ConfigMap has one key per node; reports 7: its
// resources without prefix get the device plugin's default.
func TestConfigMapWithAKeyPerNode(t *testing.T) {
	const operators = `{"resourceList":[{"resourceName":"nics","selectors":{"pfNames":["pf1"],"IsRdma":false},"SelectorObjs":null}]}`
	tests := []struct {
		name, prefix  string
		data          map[string]string
		want, problem string
	}{
		{"the node's key", "", map[string]string{"worker-0": operators, "worker-1": "{"}, "intel.com/nics", ""},
		{"with the operator's prefix", "openshift.io", map[string]string{"worker-0": operators}, "openshift.io/nics", ""},
		{"the node's key before the common one", "", map[string]string{"worker-0": operators, "config.json": goodPools}, "intel.com/nics", ""},
		{"only the common one", "", map[string]string{"worker-1": operators, "config.json": goodPools}, "intel.com/legacy", ""},
		{"no policy for this node", "", map[string]string{"worker-0": `{"resourceList":null}`}, "", ""},
		{"only other nodes'", "", map[string]string{"worker-1": operators}, "", `has no key config.json, nor one with the node's name "worker-0"`},
		{"an error in the node's key", "", map[string]string{"worker-0": "{\n,"}, "", "ConfigMap fairlead-system/fairlead-device-plugin, key worker-0: line 2, column 1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := &api{labels: map[string]string{}, configMaps: map[string]map[string]string{"fairlead-device-plugin": tt.data}}
			d := newDeclared(t, t.TempDir(), a)
			d.o.NodeName = "worker-0"
			if tt.prefix != "" {
				d.o.DevicePluginPrefix = tt.prefix
			}
			m, problems := d.read()
			if got := resources(m); got != tt.want {
				t.Errorf("pools %q, want %q", got, tt.want)
			}
			if got := problem.Join(problems, "\n"); (tt.problem == "") != (got == "") || !strings.Contains(got, tt.problem) {
				t.Errorf("problems %q, want one with %q", got, tt.problem)
			}
		})
	}
}
