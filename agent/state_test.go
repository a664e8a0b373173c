package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// newParts constructs an agent below a directory, without running it.
func newParts(t *testing.T, apiServer string) *parts {
	t.Helper()
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "x",
		"clusters": []any{map[string]any{"name": "x", "cluster": map[string]any{"server": apiServer}}},
		"contexts": []any{map[string]any{"name": "x", "context": map[string]any{"cluster": "x", "user": ""}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "kubeconfig"), string(config))
	write(t, filepath.Join(dir, "image", "fairlead"), "#!/bin/sh\n")
	for _, d := range []string{"bin", "net.d"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := Defaults()
	o.Build, o.CNIAgentTimeout, o.CNITimeout = "v1-2-gabc", 7*time.Second, 70*time.Second
	o.NodeName, o.Kubeconfig, o.SysRoot = "node1", filepath.Join(dir, "kubeconfig"), dir
	o.StateDir, o.ProfilesDir = filepath.Join(dir, "state"), filepath.Join(dir, "profiles.d")
	o.CNIBinDir, o.CNIConfDir, o.ShimPath = filepath.Join(dir, "bin"), filepath.Join(dir, "net.d"), filepath.Join(dir, "image", "fairlead")
	o.DevicePlugins, o.PodResources = filepath.Join(dir, "kubelet"), filepath.Join(dir, "kubelet", "kubelet.sock")
	p, err := construct(o, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

// during runs a part until the test ends.
func during(t *testing.T, part func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = part(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// awaitProblems waits until holds accepts the state's problems.
func awaitProblems(t *testing.T, p *parts, what string, holds func(problems string) bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		s, err := p.state(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		problems := problem.Join(s.Problems, "\n")
		if holds(problems) {
			return
		}
		select {
		case <-late:
			t.Fatalf("%s: the problems are\n%s", what, problems)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Without the conf the runtime never calls the shim: pods start without their networks, and
// nothing else reports it.
func TestConfThatIsNotInstalledIsAProblem(t *testing.T) {
	p := newParts(t, "http://127.0.0.1:1")
	during(t, p.installation.keep)
	const text = "the CNI configuration is not in place"
	awaitProblems(t, p, "an empty conf dir", func(s string) bool {
		return strings.Contains(s, text) && strings.Contains(s, "no primary network") && strings.Contains(s, "install the cluster's network plugin")
	})
	write(t, filepath.Join(p.o.CNIConfDir, "10-x.conf"), `{"cniVersion":"1.0.0","name":"x","type":"ptp"}`)
	awaitProblems(t, p, "a primary network has come", func(s string) bool { return !strings.Contains(s, text) })
	if _, err := os.Stat(filepath.Join(p.o.CNIConfDir, "00-fairlead.conflist")); err != nil {
		t.Error(err)
	}
	settings, err := wire.LoadShimConfig(p.o.CNIBinDir)
	if err != nil || settings.AgentTimeoutSeconds != 7 || settings.TimeoutSeconds != 70 {
		t.Errorf("the shim's settings: %+v, %v", settings, err)
	}
}

// If the NICs cannot be read, no profile has a status that would show it.
func TestProfilesThatCannotBeComparedAreAProblem(t *testing.T) {
	p := newParts(t, "http://127.0.0.1:1")
	const text = "the profiles could not be compared with the NICs: "
	p.node.model.Profiles = []config.Profile{{Name: "fast"}}
	devices := filepath.Join(p.o.SysRoot, "sys", "bus", "pci", "devices")
	write(t, devices, "no directory")
	p.node.apply(t.Context())
	awaitProblems(t, p, "nothing was read", func(s string) bool { return strings.Contains(s, text) })
	if next := p.node.next(); next != retryFailed {
		t.Errorf("the next try is in %s", next)
	}
	if err := os.Remove(devices); err != nil {
		t.Fatal(err)
	}
	p.node.apply(t.Context())
	awaitProblems(t, p, "all was read", func(s string) bool { return !strings.Contains(s, text) })
}

// A refusal counts as an answer of the API server.
func TestRefusedConfigMapsAreAProblem(t *testing.T) {
	forbid := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"forbidden: no role"}`))
	}))
	t.Cleanup(forbid.Close)
	p := newParts(t, forbid.URL)
	during(t, p.cluster.Run)
	awaitProblems(t, p, "everything is refused", func(s string) bool {
		return strings.Count(s, "the agent's ServiceAccount lacks the permission: apply the permissions of its manifest again") == 7 &&
			strings.Contains(s, "watch configmap fairlead-profiles: ") && strings.Contains(s, "watch configmap fairlead-device-plugin: ") &&
			!strings.Contains(s, "has not answered")
	})
}

// Inside a virtual machine no PF is visible; the reason why a VF is not handed out is still
// reported.
func TestStateHasVFsWithoutAPFReasonsAndBuild(t *testing.T) {
	p := newParts(t, "http://127.0.0.1:1")
	tree := sysfstest.New(t)
	tree.AddVF(device.VF{Address: pci.MustParseAddress("0000:00:04.0"), Vendor: "8086", Device: "10ca", NUMANode: -1, IOMMUGroup: -1})
	p.node.inv = inventory.New(inventory.Options{FS: tree.FS()})
	if _, err := p.node.inv.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.node.model.Pools = []device.Pool{{Resource: "fairlead.dev/vm", Source: "config.json", Selectors: []device.Selector{{PCIAddresses: device.Addresses{pci.MustParseAddress("0000:00:04.0"): true}}}}}
	p.node.advertise()
	s, err := p.state(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Build != "v1-2-gabc" {
		t.Errorf("build %q", s.Build)
	}
	if len(s.Lone) != 1 || s.Lone[0].Pool != "fairlead.dev/vm" || s.Lone[0].Reason != "no driver is bound to it" {
		t.Errorf("VFs without a visible PF: %+v", s.Lone)
	}
}

// lab F: after a lost ledger, a VF that the kubelet lists for a pod was shown as free.
func TestStateHasTheKubeletsGrants(t *testing.T) {
	ours, free := pci.MustParseAddress("0000:01:10.0"), pci.MustParseAddress("0000:01:10.2")
	devices := inventory.NewSnapshot([]device.PF{pf("0000:01:00.0", "pf0", true, vf(ours.String(), ""), vf(free.String(), "v1"))}, nil)
	view := custody.NewView(custody.Facts{Devices: devices, Grants: []custody.Grant{
		{Resource: "fairlead.dev/fast", DeviceID: ours.String(), Pod: ledger.PodRef{Namespace: "demo", Name: "old"}},
	}})
	s := state.Build(state.Input{Node: "n", PFs: devices.PFs, Allocated: allocated(view, devices)})
	if v := s.PFs[0].VFs[0]; !v.Allocated || v.AllocatedTo == nil || v.AllocatedTo.String() != "demo/old" {
		t.Errorf("the granted VF: %+v", v)
	}
	if v := s.PFs[0].VFs[1]; v.Allocated {
		t.Errorf("the free VF: %+v", v)
	}
}
