package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
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

// testNode returns a node with a /sys below root and a profile.
func testNode(t *testing.T, root string) *node {
	l, inv := openLedger(t), inventory.New(inventory.Options{FS: sysfs.New(root)})
	users := custody.New(custody.Sources{Ledger: l, Devices: inv, Functions: sysfs.New(root)})
	during(t, users.Run)
	n := &node{
		inv: inv, custody: users,
		plugin: deviceplugin.New(deviceplugin.Options{
			Dir: t.TempDir(), DeviceInfoDir: t.TempDir(), FS: sysfs.New(root), Ledger: l, Custody: users, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		}),
		declared: newDeclared(t, t.TempDir(), &api{labels: map[string]string{"nic": "yes"}, configMaps: map[string]map[string]string{
			"fairlead-profiles": {"a.yaml": goodProfile},
		}}),
		log: slog.New(slog.DiscardHandler), changed: make(chan struct{}, 1), reapply: make(chan struct{}, 1), removed: func(string) {},
	}
	n.applier = &profile.Applier{FS: sysfs.New(root), Custody: withholding{n}}
	return n
}

// An agent that is stopped during its first reading of the devices stops in order: Run's caller
// goes on to leave.
func TestNodeRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := testNode(t, t.TempDir()).run(ctx); err != nil {
		t.Errorf("run = %v after its context ended", err)
	}
}

// op#306: if devices cannot be read, the profile's status says so, the reading is repeated
// soon, and the pools are not advertised as empty (dp#502).
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
	for (n.next() != retryFailed || n.ready()) && time.Now().Before(deadline) {
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

// PAINS 14: after a reboot, records of earlier pods hold no VF.
func TestHolderForgetsPodsOfBeforeAReboot(t *testing.T) {
	l, err := ledger.Open(filepath.Join(t.TempDir(), "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := testNode(t, t.TempDir())
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
		n.custody = custody.New(custody.Sources{Ledger: l})
		for _, addr := range []pci.Address{attached, promised} {
			uses := withholding{n}.Known().ToChange(addr)
			if len(uses) == 0 {
				uses = make([]custody.Use, 1)
			}
			who = append(who, uses[0].Who)
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
	const both = "pod ns/p (net1), a container"
	held(both)
	if u := (withholding{n}).Known().ToChange(attached)[0]; u.Returns == nil || u.Returns.Index != 3 {
		t.Errorf("it returns as %+v, and the record says otherwise", u.Returns)
	}
	boot("one") // only the agent was restarted
	held(both)
	p.o.SysRoot = t.TempDir() // unknown: as before
	p.noteBoot()
	held(both)
	p.o.SysRoot = root
	boot("two")
	held(", ")
}

// upLinks are links that are up and unused.
type upLinks struct{ profile.Links }

func (upLinks) ByIndex(index int) (link.Link, error)  { return link.Link{Index: index, Up: true}, nil }
func (upLinks) ByName(name string) (link.Link, error) { return link.Link{Name: name}, nil }

// lab: a profile that waited for a VF continued 33 s after the pod was gone. Custody reports
// when the VF is free.
func TestProfileGoesOnWhenItsVFIsFree(t *testing.T) {
	tree := sysfstest.New(t)
	vf := vf("0000:01:10.0", "") // in a pod
	p := pf("0000:01:00.0", "pf0", true, vf)
	p.TotalVFs = 7
	tree.AddPF(p)
	synctest.Test(t, func(t *testing.T) {
		n := testNode(t, tree.Root)
		n.applier.FS, n.applier.Links = tree.FS(), upLinks{}
		l := openLedger(t)
		holding := ledger.Sandbox{ID: "s", Pod: ledger.PodRef{Namespace: "ns", Name: "p"}, Attachments: []ledger.Attachment{{IfName: "net1", Members: []ledger.Member{{Device: vf.Address}}}}}
		if err := l.PutSandbox(holding); err != nil {
			t.Fatal(err)
		}
		users := custody.New(custody.Sources{Ledger: l, Devices: n.inv, Functions: tree.FS()})
		n.custody = users
		during(t, users.Run)
		during(t, n.run)
		numVFs := func() int { return n.inv.Snapshot().NumVFs() }
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if numVFs() != 1 || n.next() != retryFailed {
			t.Errorf("%d VFs, next try in %v: the profile should wait for the VF", numVFs(), n.next())
		}
		tree.ShowNetdev(vf.Address, "v0")
		if _, err := n.inv.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // its holder is not fully released
		synctest.Wait()
		if numVFs() != 1 {
			t.Error("the profile did not wait for the record to go")
		}
		if err := l.DeleteSandbox("s"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		users.SandboxChanged("s")
		for numVFs() != 4 && time.Since(begin) < time.Minute {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		if after := time.Since(begin); after > time.Second {
			t.Errorf("%d VFs after %v, want 4 at once", numVFs(), after)
		}
	})
}

// devices A3: while a profile is applied, which can take minutes, VFs that already fit are
// advertised, and so is every change.
func TestAdvertisingDoesNotWaitForAProfile(t *testing.T) {
	tree := sysfstest.New(t)
	p := pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"))
	p.TotalVFs = 7
	tree.AddPF(p)
	n := testNode(t, tree.Root)
	objects := n.declared.objects.(*api)
	stuck := &stuckFS{FS: tree.FS(), began: make(chan struct{}), goOn: make(chan struct{})}
	n.applier.FS, n.applier.Links = stuck, upLinks{}
	during(t, n.run)
	during(t, n.plugin.Run)
	<-stuck.began
	defer close(stuck.goOn)
	shows := func(want string) {
		t.Helper()
		var got string
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			var parts []string
			for _, p := range n.plugin.State().Pools {
				parts = append(parts, fmt.Sprintf("%s %d", p.Resource, len(p.Devices)))
			}
			if got = strings.Join(parts, ", "); got == want {
				return
			}
		}
		t.Errorf("advertised %q, want %q", got, want)
	}
	shows("fairlead.dev/fast 1")
	objects.set("fairlead-device-plugin", map[string]string{"config.json": goodPools})
	kick(n.changed)
	shows("fairlead.dev/fast 1, intel.com/legacy 0")
	tree.Remove(pci.MustParseAddress("0000:01:10.0")) // unplugged
	if _, err := n.inv.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	shows("fairlead.dev/fast 0, intel.com/legacy 0")
}

// devices B1: a second profile of the same priority leaves the VFs of a PF in their pool, and
// after a restart the agent still knows which profile was first.
func TestAConflictKeepsTheVFsInTheirPool(t *testing.T) {
	tree := sysfstest.New(t)
	p := pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"))
	p.TotalVFs = 7
	tree.AddPF(p)
	n := testNode(t, tree.Root)
	objects := n.declared.objects.(*api)
	n.applier.FS, n.applier.Links = tree.FS(), upLinks{}
	pools := func(n *node) string {
		t.Helper()
		n.read()
		n.apply(t.Context())
		n.read()
		n.advertise()
		var parts []string
		for _, p := range n.plugin.State().Pools {
			parts = append(parts, fmt.Sprintf("%s %d", p.Resource, len(p.Devices)))
		}
		return strings.Join(parts, ", ")
	}
	if got := pools(n); got != "fairlead.dev/fast 4" {
		t.Fatal(got)
	}
	other := strings.NewReplacer("name: fast", "name: a", "resourceName: fast", "resourceName: other").Replace(goodProfile)
	objects.set("fairlead-profiles", map[string]string{"a.yaml": other, "b.yaml": goodProfile})
	const kept = "fairlead.dev/fast 4, fairlead.dev/other 0"
	if got := pools(n); got != kept {
		t.Errorf("after the conflict %s", got)
	}
	again := testNode(t, tree.Root)
	again.applier.FS, again.applier.Links = tree.FS(), upLinks{}
	memory, err := openMemory(n.declared.o.memoryPath())
	if err != nil {
		t.Fatal(err)
	}
	again.declared = &declared{o: n.declared.o, objects: objects, memory: memory, log: again.log}
	if got := pools(again); got != kept {
		t.Errorf("after the next start %s", got)
	}
}

// lab: while the agent restarts, no pod gets a VF. Registering does not wait for the API
// server. Applying does, since profiles may have changed.
func TestAdvertisingDoesNotWaitForTheAPIServer(t *testing.T) {
	tree := sysfstest.New(t)
	p := pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"))
	p.TotalVFs = 7
	tree.AddPF(p)
	n := testNode(t, tree.Root)
	stuck := &stuckFS{FS: tree.FS(), began: make(chan struct{}), goOn: make(chan struct{})}
	close(stuck.goOn)
	n.applier.FS, n.applier.Links, n.answered = stuck, upLinks{}, make(chan struct{})
	during(t, n.run)
	for end := time.Now().Add(10 * time.Second); len(n.plugin.State().Pools) == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if pools := n.plugin.State().Pools; len(pools) != 1 || len(pools[0].Devices) != 1 {
		t.Errorf("advertised %+v", pools)
	}
	select {
	case <-stuck.began:
		t.Error("a profile of before the restart is applied")
	case <-time.After(50 * time.Millisecond):
	}
	close(n.answered)
	<-stuck.began
}

// stuckFS blocks while the number of VFs is changed, as the kernel may.
type stuckFS struct {
	sysfs.FS
	begin       sync.Once
	began, goOn chan struct{}
}

func (f *stuckFS) SetNumVFs(pf pci.Address, n int) error {
	f.begin.Do(func() { close(f.began) })
	<-f.goOn
	return errors.New("stuck")
}

// devices B4, lab E: a PF is renamed. It stays in its pool and its profile, and a problem has
// its current name.
func TestARenamedPFStaysInItsPool(t *testing.T) {
	tree := sysfstest.New(t)
	p := pf("0000:01:00.0", "pf0", true, vf("0000:01:10.0", "v0"))
	p.TotalVFs = 1
	tree.AddPF(p)
	n := testNode(t, tree.Root)
	n.read()
	advertised := func() (devices int, problems string) {
		t.Helper()
		if _, err := n.inv.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.advertise()
		s := n.plugin.State()
		return len(s.Pools[0].Devices), problem.Join(s.Problems, "\n")
	}
	if devices, problems := advertised(); devices != 1 || problems != "" {
		t.Fatalf("%d devices, %s", devices, problems)
	}
	tree.HideNetdev(p.Address)
	tree.ShowNetdev(p.Address, "eth7")
	devices, problems := advertised()
	if devices != 1 || !strings.Contains(problems, "PF 0000:01:00.0 was selected as pf0 and is called eth7 now") {
		t.Errorf("renamed: %d devices, problems %q", devices, problems)
	}
	pfs, _, err := n.readPFs(t.Context())
	if err != nil || !n.model.Profiles[0].NICs.Match(pfs[0]) {
		t.Errorf("the profile has lost the PF (%v)", err)
	}
	tree.HideNetdev(p.Address)
	devices, problems = advertised()
	if devices != 1 || !strings.Contains(problems, "has no netdev now") {
		t.Errorf("without netdev: %d devices, problems %q", devices, problems)
	}
	tree.ShowNetdev(p.Address, "eth7")
	n.declared.objects.(*api).set("fairlead-device-plugin", map[string]string{"config.json": goodPools}) // the configuration is edited
	n.read()
	devices, problems = advertised()
	if devices != 0 || !strings.Contains(problems, "selects nothing: no PF is called pf0; the PFs here are eth7 (0000:01:00.0)") {
		t.Errorf("after an edit: %d devices, problems %q", devices, problems)
	}
}
