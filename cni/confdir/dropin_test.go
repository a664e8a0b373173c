package confdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"fairlead.dev/fairlead/pkg/network"
)

// tree writes files, directories included.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func types(list network.ConfList) []string {
	var out []string
	for _, p := range list.Plugins {
		out = append(out, p.Type)
	}
	return out
}

const bridgeAndPortmap = `{"name":"cbr0","cniVersion":"1.1.0","plugins":[{"type":"bridge"},{"type":"portmap"}]}`

// meta-cni A5: drop-in plugins are run as libcni loads them, for the primary network and for a
// net-attach-def with an empty spec.
func TestDropInPlugins(t *testing.T) {
	mesh, filter := `{"type":"mesh-redirect"}`, `{"type":"filter"}`
	for name, files := range map[string]map[string]string{
		"none":              {"10.conflist": bridgeAndPortmap},
		"an empty dir":      {"10.conflist": bridgeAndPortmap, "cbr0/README": ""},
		"one":               {"10.conflist": bridgeAndPortmap, "cbr0/10-mesh.conf": mesh},
		"two, by name":      {"10.conflist": bridgeAndPortmap, "cbr0/20-mesh.conf": mesh, "cbr0/10-filter.conf": filter},
		"another network's": {"10.conflist": bridgeAndPortmap, "other/10-mesh.conf": mesh},
		"other extensions":  {"10.conflist": bridgeAndPortmap, "cbr0/10-mesh.conflist": mesh, "cbr0/20.json": mesh, "cbr0/30.conf.bak": mesh},
		"only drop-ins":     {"10.conflist": `{"name":"cbr0","cniVersion":"1.1.0"}`, "cbr0/10-mesh.conf": mesh},
		"inlined only": {"10.conflist": strings.Replace(bridgeAndPortmap, "{", `{"loadOnlyInlinedPlugins":true,`, 1),
			"cbr0/10-mesh.conf": mesh},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tree(t, dir, files)
			asRuntime, err := libcni.NetworkConfFromFile(filepath.Join(dir, "10.conflist"))
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, p := range asRuntime.Plugins {
				want = append(want, p.Network.Type)
			}
			p := primaryOf(dir, "")
			primary, err := p.Conf()
			if err != nil || !slices.Equal(types(primary), want) {
				t.Errorf("the primary has %v, %v; libcni has %v", types(primary), err, want)
			}
			if list, err := p.ByName("cbr0"); err != nil || !slices.Equal(types(list), want) {
				t.Errorf("a net-attach-def has %v, %v; libcni has %v", types(list), err, want)
			}
		})
	}
}

// meta-cni A5: a drop-in plugin passes the checks of all members.
func TestDropInPluginsAreChecked(t *testing.T) {
	many := map[string]string{"10.conflist": bridgeAndPortmap}
	for i := range network.MaxMembers - 1 {
		many[fmt.Sprintf("cbr0/%02d.conf", i)] = `{"type":"tuning"}`
	}
	for want, files := range map[string]map[string]string{
		"without end":                      {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `{"type":"fairlead"}`},
		"field ipam.type":                  {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `{"type":"x","ipam":{"type":"multus"}}`},
		"no plugins of its own":            {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `{"type":"x","plugins":[{"type":"y"}]}`},
		"cbr0/10.conf: field type is miss": {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `{}`},
		"is not a JSON object":             {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `[`},
		"is null":                          {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `null`},
		"bytes, the limit is":              {"10.conflist": bridgeAndPortmap, "cbr0/10.conf": `{"type":"x","y":"` + strings.Repeat("y", network.MaxConfigBytes) + `"}`},
		"17 plugins, the limit is":         many,
		"no drop-in plugin completes":      {"10.conflist": `{"name":"cbr0","cniVersion":"1.1.0"}`},
		"is not a network name":            {"10.conflist": `{"name":"../net.d","cniVersion":"1.1.0"}`},
	} {
		dir := t.TempDir()
		tree(t, dir, files)
		if list, err := primaryOf(dir, "").Conf(); !errors.Is(err, ErrNoPrimary) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v; want %q", types(list), err, want)
		}
	}
}

// meta-cni A5: a drop-in plugin that comes, changes or goes is seen, though the conf itself
// stays as it is.
func TestDropInPluginsAreReadWhenTheyChange(t *testing.T) {
	dir, old := t.TempDir(), time.Now().Add(-time.Hour)
	file, dropIn := filepath.Join(dir, "10.conflist"), filepath.Join(dir, "cbr0", "10.conf")
	tree(t, dir, map[string]string{"10.conflist": bridgeAndPortmap})
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	p := primaryOf(dir, "")
	want := func(want ...string) {
		t.Helper()
		if list, err := p.Conf(); err != nil || !slices.Equal(types(list), want) || p.seen == "" {
			t.Errorf("got %v, %v, remembered %q; want %v", types(list), err, p.seen, want)
		}
	}
	want("bridge", "portmap")
	for _, plugin := range []string{"mesh", "mesh2"} {
		tree(t, dir, map[string]string{"cbr0/10.conf": `{"type":"` + plugin + `"}`})
		if err := os.Chtimes(dropIn, old, old); err != nil {
			t.Fatal(err)
		}
		want("bridge", "portmap", plugin)
	}
	if err := os.Remove(dropIn); err != nil {
		t.Fatal(err)
	}
	want("bridge", "portmap")
}
