package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// node is a node with a /sys, an inventory and an oracle.
type node struct {
	t       *testing.T
	tree    *sysfstest.Tree
	inv     *inventory.Inventory
	oracle  *custody.Oracle
	atPF    map[int]device.Settings
	refused string // a knob that the driver refuses
	log     []string
	now     time.Time
	r       *Repairer
}

func newNode(t *testing.T) *node {
	n := &node{t: t, tree: sysfstest.New(t), atPF: map[int]device.Settings{}, now: start}
	n.tree.LoadDriver("igbvf")
	pf := device.PF{Address: pfAddr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: "ens1f0", Ifindex: 4, LinkType: "ether", IOMMUGroup: -1, TotalVFs: 7, NumVFs: 2}
	for i := range 2 {
		pf.VFs = append(pf.VFs, device.VF{Address: vfAddr(i), PF: pfAddr, Index: i, Vendor: "8086", Device: "10ca", Driver: "igbvf", Netdev: fmt.Sprintf("eth%d", i), MTU: 1500, IOMMUGroup: -1})
		n.atPF[i] = device.Settings{VLAN: number(0), Trust: on(false), AdminMAC: text(device.NoMAC)}
	}
	n.tree.AddPF(pf)
	n.inv = inventory.New(inventory.Options{FS: n.tree.FS()})
	n.oracle = custody.New(custody.Sources{Devices: n.inv, Functions: n.tree.FS(), Settle: time.Millisecond})
	n.oracle.SetPooled(map[pci.Address]string{vfAddr(0): fast, vfAddr(1): fast})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.oracle.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	n.restart(filepath.Join(t.TempDir(), "clean-vfs.json"))
	return n
}

func (n *node) restart(path string) {
	n.r = New(Options{
		Custody: n.oracle, FS: n.tree.FS(), Links: n, Path: path, Boot: "b", Now: func() time.Time { return n.now }, Log: slog.New(slog.DiscardHandler),
		Withhold: func(_ context.Context, vf pci.Address) (func(), error) {
			n.log = append(n.log, "withhold")
			return func() { n.log = append(n.log, "end") }, nil
		},
		Event: func(_, reason, message string) { n.log = append(n.log, reason+": "+message) },
	})
}

func (n *node) ByName(name string) (link.Link, error) {
	return link.Link{Index: 9, Name: name, MTU: 1500}, nil
}
func (n *node) Rename(_ int, name string) error {
	n.log = append(n.log, "rename "+name)
	return nil
}
func (n *node) SetMTU(_, mtu int) error                  { n.log = append(n.log, fmt.Sprint("mtu ", mtu)); return nil }
func (n *node) VFs(int) (map[int]device.Settings, error) { return n.atPF, nil }
func (n *node) SetVF(_, vf int, s device.Settings) error {
	have := n.atPF[vf]
	for _, k := range device.KnobsAt(device.AtPF) {
		if !k.Has(s) {
			continue
		}
		n.log = append(n.log, "set "+k.Name+" "+k.Text(s))
		if k.Name == n.refused {
			return errors.New("refused")
		}
		k.Copy(&have, s)
	}
	n.atPF[vf] = have
	return nil
}

// look reads the devices, waits until the oracle has them, and has the repairer look.
func (n *node) look(after time.Duration, settled func(*custody.View) bool) {
	n.t.Helper()
	n.now = n.now.Add(after)
	if _, err := n.inv.Refresh(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	for late := time.Now().Add(10 * time.Second); !settled(n.oracle.View()); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			n.t.Fatalf("uses are still %+v", n.oracle.View().Uses(vfAddr(1)))
		}
	}
	n.r.look(n.t.Context(), n.oracle.View(), true)
}

func isAway(v *custody.View) bool {
	uses := v.Uses(vfAddr(1))
	return len(uses) == 1 && uses[0].Kind == custody.Namespace
}

func isFree(v *custody.View) bool {
	_, vf, ok := v.Devices().VF(vfAddr(1))
	return ok && vf.Netdev != "" && len(v.Uses(vfAddr(1))) == 0
}

// lab F: a VF was in a pod when the ledger was lost. It comes back clean, even if the agent
// restarts in between, and it is counted and reported.
func TestVFOfALostLedgerComesBackClean(t *testing.T) {
	n := newNode(t)
	n.look(0, isFree) // remembers it
	n.tree.HideNetdev(vfAddr(1))
	n.atPF[1] = device.Settings{VLAN: number(77), Trust: on(true), AdminMAC: text("02:00:00:00:00:01")}
	n.look(time.Second, isAway)
	n.look(time.Minute, isAway)
	n.restart(n.r.o.Path)
	n.tree.ShowNetdev(vfAddr(1), "net1")
	n.log = nil
	n.look(time.Hour, isFree)
	want := "withhold\nset VLAN 0\nset MAC 00:00:00:00:00:00\nset trust off\nrename eth1\nend\n" +
		"VFRepaired: VF 0000:3b:10.1: another network namespace had it, and no record named it; it was restored without a record"
	if got := strings.Join(n.log, "\n"); got != want {
		t.Errorf("did\n%s\nwant\n%s", got, want)
	}
	if !strings.Contains(strings.Join(n.tree.Writes(), "\n"), "unbind") {
		t.Error("the driver was not rebound: the pod's netdev is still there")
	}
	if n.r.Repaired() != 1 || len(n.r.Problems()) > 0 {
		t.Errorf("repaired %d, problems %q", n.r.Repaired(), n.r.Problems())
	}
	n.log = nil
	n.look(time.Hour, func(v *custody.View) bool { return true })
	if len(n.log) > 0 {
		t.Errorf("a repaired VF is repaired again: %q", n.log)
	}
}

// A DEL by another meta-plugin's files restores its VF: no repair rebinds it afterwards, which
// could give it another MAC.
func TestAVFThatARecordTakesOverIsNoStray(t *testing.T) {
	n := newNode(t)
	n.look(0, isFree)
	n.tree.HideNetdev(vfAddr(1))
	n.look(time.Second, isAway)
	n.look(time.Minute, isAway)
	n.r.Recorded(vfAddr(1))
	n.tree.ShowNetdev(vfAddr(1), "eth1")
	n.log = nil
	n.look(time.Hour, isFree)
	if len(n.log) > 0 || n.r.Repaired() != 0 {
		t.Errorf("it was repaired: %q", n.log)
	}
	n.restart(n.r.o.Path)
	n.look(time.Hour, isFree)
	if len(n.log) > 0 {
		t.Errorf("it was repaired after a restart: %q", n.log)
	}
}

// A VF that cannot be repaired is a problem until it can. It is rebound only once.
func TestRepairThatFailsIsAProblem(t *testing.T) {
	n := newNode(t)
	n.look(0, isFree)
	n.tree.HideNetdev(vfAddr(1))
	n.atPF[1] = device.Settings{VLAN: number(77)}
	n.look(time.Second, isAway)
	n.look(time.Minute, isAway)
	n.tree.ShowNetdev(vfAddr(1), "net1")
	n.refused = "VLAN"
	n.look(time.Minute, isFree)
	problems := problem.Join(n.r.Problems(), "\n")
	if want := "VLAN is still 77 instead of 0"; !strings.Contains(problems, want) || n.r.Repaired() != 0 {
		t.Errorf("problems %q, repaired %d", problems, n.r.Repaired())
	}
	n.log = nil
	n.look(time.Second, isFree) // the withholding changes the View, which must not cause a loop
	if len(n.log) > 0 {
		t.Errorf("tried again at once: %q", n.log)
	}
	n.refused = ""
	before := strings.Count(strings.Join(n.tree.Writes(), "\n"), "unbind")
	n.look(time.Minute, isFree)
	if after := strings.Count(strings.Join(n.tree.Writes(), "\n"), "unbind"); after != before {
		t.Error("the driver was rebound a second time")
	}
	if n.r.Repaired() != 1 || len(n.r.Problems()) > 0 {
		t.Errorf("repaired %d, problems %q", n.r.Repaired(), n.r.Problems())
	}
}

// Nobody's VF is touched: somebody may have got it since the evidence was read.
func TestRepairAsksAgainBeforeItChanges(t *testing.T) {
	n := newNode(t)
	n.look(0, isFree)
	n.tree.HideNetdev(vfAddr(1)) // the inventory has not seen it
	n.log = nil
	err := n.r.apply(t.Context(), Orphan{VF: device.VF{Address: vfAddr(1), Driver: "igbvf"}, Rebind: true})
	if !errors.Is(err, errInUse) || strings.Join(n.log, " ") != "withhold end" {
		t.Errorf("apply = %v after %q", err, n.log)
	}
}

// reports 21: the kernel probes a VF that a workload has left without a driver.
func TestVFWithoutADriverIsBoundAgain(t *testing.T) {
	n := newNode(t)
	if err := n.tree.WriteAttr(filepath.Join(n.tree.Root, "sys/bus/pci/devices", vfAddr(1).String(), "driver/unbind"), []byte(vfAddr(1).String())); err != nil {
		t.Fatal(err)
	}
	n.r.watch.holders[vfAddr(1)] = holder{who: "pod default/x (net1)", driver: "igbvf"}
	unbound := func(v *custody.View) bool {
		_, vf, ok := v.Devices().VF(vfAddr(1))
		return ok && vf.Driver == ""
	}
	n.look(0, unbound)
	n.look(time.Minute, unbound)
	if driver, err := n.tree.FS().Driver(vfAddr(1)); err != nil || driver != "igbvf" {
		t.Errorf("driver %q, %v; problems %q", driver, err, n.r.Problems())
	}
	if n.r.Repaired() != 1 {
		t.Errorf("repaired %d; did %q", n.r.Repaired(), n.log)
	}
}

// After a boot every VF is new.
func TestMemoryEndsWithTheBoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	m, _ := openMemory(path, "one")
	m.Strays[vfAddr(1)] = Stray{Evidence: "e"}
	if err := m.save(path); err != nil {
		t.Fatal(err)
	}
	for boot, want := range map[string]int{"one": 1, "two": 0} {
		if m, err := openMemory(path, boot); err != nil || len(m.Strays) != want {
			t.Errorf("boot %s: %+v, %v", boot, m, err)
		}
	}
}

// Run repairs when the VF comes back, without waiting for a review.
func TestRunRepairsWhenAVFComesBack(t *testing.T) {
	n := newNode(t)
	n.look(0, isFree)
	n.tree.HideNetdev(vfAddr(1))
	n.atPF[1] = device.Settings{VLAN: number(77), Trust: on(true)}
	n.look(time.Second, isAway)
	n.look(time.Minute, isAway)
	n.restart(n.r.o.Path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.r.Run(ctx) }()
	n.tree.ShowNetdev(vfAddr(1), "net1")
	if _, err := n.inv.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(10 * time.Second); n.r.Repaired() == 0 && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil || n.r.Repaired() != 1 {
		t.Errorf("repaired %d, %v; problems %q", n.r.Repaired(), err, n.r.Problems())
	}
	if s := n.atPF[1]; *s.VLAN != 0 || *s.Trust {
		t.Errorf("VLAN %d, trust %v", *s.VLAN, *s.Trust)
	}
}
