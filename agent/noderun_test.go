package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// testNode is a node on a /sys below root, for which a profile is declared.
func testNode(t *testing.T, root string) *node {
	n := &node{
		inv:    inventory.New(inventory.Options{FS: sysfs.New(root)}),
		plugin: deviceplugin.New(deviceplugin.Options{Dir: t.TempDir(), FS: sysfs.New(root)}),
		declared: newDeclared(t, t.TempDir(), &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
			"fairlead-profiles": {"a.yaml": goodProfile},
		}}),
		log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1),
	}
	n.applier = &profile.Applier{FS: sysfs.New(root), Holders: n.holder}
	return n
}

// An agent that is stopped while it reads the devices for the first time stops
// orderly: what comes after Run (leave) must not be skipped.
func TestNodeRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := testNode(t, t.TempDir()).run(ctx); err != nil {
		t.Errorf("run = %v after its context ended", err)
	}
}

// op#306: devices that cannot be read are in the profile's status, tried again
// soon, and not advertised as none (dp#502).
func TestNodeReportsThatDevicesCannotBeRead(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "sys/bus/pci"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "sys/bus/pci/devices"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n := testNode(t, root)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for n.next() != retryFailed && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(n.statuses) != 1 || n.statuses[0].Ready || !strings.Contains(describe(n.statuses[0]), "read the NICs: read the node's devices") {
		t.Errorf("statuses %+v", n.statuses)
	}
	if s := n.plugin.State(); len(s.Pools) != 0 {
		t.Errorf("advertised %+v", s)
	}
}
