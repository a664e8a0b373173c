package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/sysfs"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

func openLedger(t *testing.T) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// testNode is a node on a /sys below root, for which a profile is declared.
func testNode(t *testing.T, root string) *node {
	n := &node{
		inv: inventory.New(inventory.Options{FS: sysfs.New(root)}),
		plugin: deviceplugin.New(deviceplugin.Options{
			Dir: t.TempDir(), FS: sysfs.New(root), Ledger: openLedger(t), Now: time.Now, Log: slog.New(slog.DiscardHandler),
		}),
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

// PAINS 14: what the ledger says of pods of before a reboot holds no VF.
func TestHolderForgetsPodsOfBeforeAReboot(t *testing.T) {
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := testNode(t, t.TempDir())
	n.ledger = l
	root := t.TempDir()
	p := &parts{o: Options{SysRoot: root}, ledger: l, log: n.log}
	boot := func(id string) {
		path := filepath.Join(root, "proc/sys/kernel/random/boot_id")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(id+"\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		p.noteBoot()
	}
	attached, promised := pci.MustParseAddress("0000:01:10.0"), pci.MustParseAddress("0000:01:10.2")
	held := func(want string) {
		t.Helper()
		var who []string
		for _, addr := range []pci.Address{attached, promised} {
			h, _ := n.holder(addr)
			who = append(who, h.Who)
		}
		if got := strings.Join(who, ", "); got != want {
			t.Errorf("held by %q, want %q", got, want)
		}
	}
	boot("one")
	if err := errors.Join(
		l.PutSandbox(ledger.Sandbox{ID: "s", Pod: ledger.PodRef{Namespace: "ns", Name: "p"}, Attachments: []ledger.Attachment{{IfName: "net1", Members: []ledger.Member{{Plugin: "sriov", Device: attached, VF: &ledger.VFMember{Original: ledger.VFState{Index: 3}}}}}}}),
		l.PutAllocations([]ledger.Allocation{{Resource: "fairlead.dev/fast", Device: promised}}),
	); err != nil {
		t.Fatal(err)
	}
	const both = "pod ns/p (net1), a container that the kubelet gave it to as fairlead.dev/fast"
	held(both)
	if h, _ := n.holder(attached); h.Returns == nil || h.Returns.Index != 3 {
		t.Errorf("it returns as %+v, and the record says otherwise", h.Returns)
	}
	boot("one") // the agent alone was restarted
	held(both)
	p.o.SysRoot = t.TempDir() // not known: as before
	p.noteBoot()
	held(both)
	p.o.SysRoot = root
	boot("two")
	held(", ")
}

// upLinks are links that are up and unused.
type upLinks struct{ profile.Links }

func (upLinks) ByIndex(index int) (link.Link, error)        { return link.Link{Index: index, Up: true}, nil }
func (upLinks) ByName(name string) (link.Link, error)       { return link.Link{Name: name}, nil }
func (upLinks) Addresses(index int) ([]link.Address, error) { return nil, nil }

// What waited for a VF is done soon after it came back, and not at the next retry.
func TestNodeLooksAgainWhenAVFComesBack(t *testing.T) {
	tree := sysfstest.New(t)
	vf := vf("0000:01:10.0", "") // in a namespace
	p := pf("0000:01:00.0", "pf0", true, vf)
	p.TotalVFs = 7
	tree.AddPF(p)
	synctest.Test(t, func(t *testing.T) {
		n := testNode(t, tree.Root)
		l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n.ledger, n.applier.FS, n.applier.Links = l, tree.FS(), upLinks{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.run(ctx) }()
		numVFs := func() int { return n.inv.Snapshot().NumVFs() }
		time.Sleep(time.Second)
		synctest.Wait()
		if numVFs() != 1 || n.next() != retryFailed {
			t.Errorf("%d VFs, next try in %v: the profile should wait for the VF", numVFs(), n.next())
		}
		tree.ShowNetdev(vf.Address, "v0")
		if _, err := n.inv.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for numVFs() != 4 && time.Since(begin) < time.Hour {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if after := time.Since(begin); after < settle || after > 2*settle {
			t.Errorf("%d VFs after %v", numVFs(), after)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
