package guest

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/test/lab/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestNodeFiles(t *testing.T) {
	ports, err := config.NewPorts(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range config.Nodes() {
		files, err := NodeFiles(n, ports)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"env", "10-lab.conflist", "services.json"} {
			golden(t, n.Name+"-"+name, files[name])
		}
		for _, name := range []string{"kubelet.yaml", "kube-proxy.yaml"} {
			var v map[string]any
			if err := yaml.UnmarshalStrict(files[name], &v); err != nil || v["kind"] == nil {
				t.Errorf("%s %s: kind %v, %v", n.Name, name, v["kind"], err)
			}
		}
		if !json.Valid(files["10-lab.conflist"]) {
			t.Errorf("%s: the CNI configuration is no JSON", n.Name)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; rewrite with -update):\n%s", path, diff)
	}
}

func TestServiceNames(t *testing.T) {
	var names []string
	for _, s := range services(config.Nodes()[0]) {
		names = append(names, s.Name)
	}
	if !slices.Equal(names, ServiceNames()) {
		t.Errorf("services %v, names %v", names, ServiceNames())
	}
}

func TestLines(t *testing.T) {
	packages := Lines("packages")
	if !slices.Contains(packages, "containerd") || slices.Contains(packages, "") || !slices.IsSorted(packages) {
		t.Errorf("packages %q: want containerd, no blanks, sorted", packages)
	}
}
