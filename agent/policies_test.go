package agent

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

const (
	strictPolicy  = "apiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: tenants}\nspec: {namespaces: [\"team-*\"], networks: {plugins: [macvlan]}}\n"
	invalidPolicy = "apiVersion: fairlead.dev/v1alpha1\nkind: AttachmentPolicy\nmetadata: {name: tenants}\nspec: {namespaces: [\"team-*\"], plugin: [macvlan]}\n"
)

func testPolicies(t *testing.T, dir string, a *api) *policies {
	t.Helper()
	o := Defaults()
	o.PoliciesDir, o.StateDir = filepath.Join(dir, "policies.d"), filepath.Join(dir, "state")
	return newPolicies(o, a, slog.New(slog.DiscardHandler))
}

// inEffect returns how a host-device of team-a fares: "allowed", "refused", or the error.
func inEffect(t *testing.T, p *policies) string {
	t.Helper()
	set, err := p.current()
	if err != nil {
		return err.Error()
	}
	d, err := network.ParseDefinition("team-a", "steal", `{"type": "host-device", "device": "mgmt"}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if set.CheckNetwork(d) != nil {
		return "refused"
	}
	return "allowed"
}

// An edit that is not valid never means that everything is allowed: the last valid
// policies stay in effect, over a restart too.
func TestAnInvalidPolicyNeverAllowsEverything(t *testing.T) {
	for name, broken := range map[string]func(dir string, a *api){
		"the ConfigMap":   func(_ string, a *api) { a.set("fairlead-policies", map[string]string{"a": invalidPolicy}) },
		"a file":          func(dir string, _ *api) { write(t, filepath.Join(dir, "policies.d", "b.yaml"), invalidPolicy) },
		"two of one name": func(dir string, _ *api) { write(t, filepath.Join(dir, "policies.d", "b.yaml"), strictPolicy) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, a := t.TempDir(), &api{configMaps: map[string]map[string]string{"fairlead-policies": {"a": strictPolicy}}}
			p := testPolicies(t, dir, a)
			if got := inEffect(t, p); got != "refused" || len(p.problem()) > 0 {
				t.Fatalf("%s, problems %q", got, p.problem())
			}
			broken(dir, a)
			p.read()
			if got := inEffect(t, p); got != "refused" || !strings.Contains(problem.Join(p.problem(), ""), "stay in effect") {
				t.Errorf("after the edit: %s, problems %q", got, p.problem())
			}
			if got := inEffect(t, testPolicies(t, dir, a)); got != "refused" {
				t.Errorf("after a restart: %s", got)
			}
		})
	}
}

// At the first start there is nothing to stay in effect: pods get the cluster's own
// network only.
func TestTheFirstStartWithAnInvalidPolicyRefusesNetworks(t *testing.T) {
	a := &api{configMaps: map[string]map[string]string{"fairlead-policies": {"a.yaml": invalidPolicy}}}
	p := testPolicies(t, t.TempDir(), a)
	got := inEffect(t, p)
	for _, want := range []string{"fairlead-policies/a.yaml", `"spec.plugin"`, "the cluster's own network only"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	a.set("fairlead-policies", map[string]string{"a.yaml": strictPolicy})
	if got := inEffect(t, p); got != "refused" { // read again at once
		t.Errorf("after the correction: %s", got)
	}
}

// While the API server is away, the last policies stay in effect. At the first start,
// nobody knows them.
func TestPoliciesWithoutTheAPIServer(t *testing.T) {
	dir := t.TempDir()
	away := &api{}
	if got := inEffect(t, testPolicies(t, dir, away)); !strings.Contains(got, "has not been read from the API server yet") {
		t.Errorf("at the first start: %s", got)
	}
	there := &api{configMaps: map[string]map[string]string{"fairlead-policies": {"a": strictPolicy}}}
	testPolicies(t, dir, there)
	if got := inEffect(t, testPolicies(t, dir, away)); got != "refused" {
		t.Errorf("after a restart: %s", got)
	}
	there.configMaps = map[string]map[string]string{} // the administrator has deleted it
	p := testPolicies(t, dir, there)
	if got := inEffect(t, p); got != "allowed" {
		t.Errorf("without a policy: %s", got)
	}
	if got := inEffect(t, testPolicies(t, dir, away)); got != "allowed" {
		t.Errorf("without a policy, after a restart: %s", got)
	}
}

// security 2: the VF's group says who may have it, whoever wrote the network.
func TestTheAllowOfAVFGroup(t *testing.T) {
	tree := sysfstest.New(t)
	vf := pci.MustParseAddress("0000:3b:10.0")
	pf := device.PF{Address: pci.MustParseAddress("0000:3b:00.0"), Driver: "igb", Netdev: "ens1f0", NUMANode: -1, IOMMUGroup: -1, TotalVFs: 7, NumVFs: 1}
	pf.VFs = []device.VF{{Address: vf, PF: pf.Address, Driver: "igbvf", NUMANode: -1, IOMMUGroup: -1}}
	tree.AddPF(pf)
	n := testNode(t, tree.Root)
	if _, err := n.inv.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	groups := []config.VFGroup{{Resource: "fairlead.dev/fast", Allow: &config.VFAllow{Namespaces: []string{"nfv-*"}, Trust: []bool{false}}}}
	may := mayHaveVF(n)
	on := true
	for _, profiles := range [][]config.Profile{
		{{Name: "lab", Groups: groups}},
		{{Name: "lab"}, {Name: "other", Groups: groups}}, // in conflict: the limits hold nevertheless
	} {
		n.model.Profiles = profiles
		for _, tt := range []struct {
			namespace string
			asked     device.Settings
			want      string
		}{
			{"nfv-a", device.Settings{}, ""},
			{"team-a", device.Settings{}, `field namespace: the VF group "fairlead.dev/fast" of profile`},
			{"nfv-a", device.Settings{Trust: &on}, "field trust"},
		} {
			err := may(attach.Call{Network: "x/y", Pod: ledger.PodRef{Namespace: tt.namespace}}, vf, tt.asked)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.namespace, err, tt.want)
			}
		}
	}
}
