package custody

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

var (
	functionGen = rapid.SampledFrom(append(nic7(), pf))
	resourceGen = rapid.SampledFrom([]string{fast, slow, ""})
	netdevGen   = rapid.SampledFrom([]string{"ens1f0", "ens1f0v0", "ens1f0v1", "eth9"})
	podGen      = rapid.SampledFrom([]ledger.PodRef{podA, podB})
)

// sandboxGen makes a sandbox with any mix of holdings.
func sandboxGen(id string) *rapid.Generator[ledger.Sandbox] {
	return rapid.Custom(func(t *rapid.T) ledger.Sandbox {
		s := ledger.Sandbox{ID: id, Pod: podGen.Draw(t, "pod"), Created: since, EarlierBoot: rapid.Bool().Draw(t, "earlier boot")}
		for i := range rapid.IntRange(0, 3).Draw(t, "attachments") {
			a := holds(id, s.Pod, resourceGen.Draw(t, "resource"), functionGen.Draw(t, "function")).Attachments[0]
			if rapid.Bool().Draw(t, "child") {
				a = carries(id, s.Pod, netdevGen.Draw(t, "uplink")).Attachments[0]
				a.Members[0].Child.VLANLink = rapid.SampledFrom([]string{"", "ens1f0.100"}).Draw(t, "VLAN link")
			}
			a.IfName = fmt.Sprintf("net%d", i+1)
			s.Attachments = append(s.Attachments, a)
		}
		if rapid.Bool().Draw(t, "failing") {
			s = failing(s, rapid.IntRange(1, 9).Draw(t, "attempts"), "EBUSY")
		}
		return s
	})
}

var snapshotGen = rapid.Custom(func(t *rapid.T) *inventory.Snapshot {
	p := nic()
	p.VFs = p.VFs[:rapid.IntRange(0, len(p.VFs)).Draw(t, "number of VFs")]
	renamed := rapid.IntRange(0, 6).Draw(t, "renamed")
	for i := range p.VFs {
		v := &p.VFs[i]
		if i == renamed {
			v.Netdev = "eth9"
		}
		switch rapid.SampledFrom([]string{"as made", "away", "vfio", "none"}).Draw(t, "VF") {
		case "away":
			v.Driver, v.Netdev = "igbvf", ""
		case "vfio":
			v.Driver, v.Netdev = "vfio-pci", ""
		case "none":
			v.Driver, v.Netdev = "", ""
		}
	}
	return inventory.NewSnapshot([]device.PF{p}, nil)
})

var factsGen = rapid.Custom(func(t *rapid.T) Facts {
	f := Facts{Devices: snapshotGen.Draw(t, "devices"), Groups: groups(), Host: map[string]string{}}
	for i := range rapid.IntRange(0, 4).Draw(t, "sandboxes") {
		f.Sandboxes = append(f.Sandboxes, sandboxGen(fmt.Sprint(i)).Draw(t, "sandbox"))
	}
	for _, fn := range rapid.SliceOfNDistinct(functionGen, 0, 4, rapid.ID).Draw(t, "allocated") {
		f.Allocations = append(f.Allocations, gave(rapid.SampledFrom([]string{fast, slow}).Draw(t, "as"), fn))
	}
	for _, fn := range rapid.SliceOfN(functionGen, 0, 2).Draw(t, "granted") {
		f.Grants = append(f.Grants, Grant{resourceGen.Draw(t, "as"), fn.String(), podA})
	}
	for _, netdev := range rapid.SliceOfN(netdevGen, 0, 2).Draw(t, "host") {
		f.Host[netdev] = "for a default route"
	}
	f.Open = rapid.SliceOfN(functionGen, 0, 2).Draw(t, "open")
	f.Changing = rapid.SliceOfN(functionGen, 0, 1).Draw(t, "changing")
	return f
})

// ToAllocate refuses a function if, and only if, it has a use that is not the kubelet's
// own of the same resource: an allocation, the sandbox that came of it, and then its group.
func TestToAllocateRefusesOtherUsesOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := NewView(factsGen.Draw(t, "facts"))
		for _, fn := range append(nic7(), pf) {
			given, others := false, 0
			for _, u := range v.Uses(fn) {
				given = given || u.Kind == Allocation && u.Resource == fast
			}
			for _, u := range v.Uses(fn) {
				same := u.Resource == fast && (u.Kind == Allocation || u.Kind == Sandbox)
				group := u.Kind == Group || u.Kind == GroupDriver
				if !given || !same && !group {
					others++
				}
			}
			if u, refused := v.ToAllocate(fn, fast); refused != (others > 0) {
				t.Fatalf("%s: refused %v (%s), %d other uses:\n%s", fn, refused, u.Kind, others, text(v, fn))
			}
		}
	})
}

// A View that was built change by change equals one that is built of the same facts.
func TestIncrementalViewEqualsOneFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := newNode()
		src := n.sources()
		src.Host = nil
		m := &machine{node: n, oracle: New(src), marked: map[pci.Address]func(){}}
		t.Repeat(map[string]func(*rapid.T){
			"sandbox": m.sandbox, "allocation": m.allocation, "devices": m.devices,
			"host": m.host, "kubelet": m.kubelet, "change": m.change, "": m.compare,
		})
	})
}

// machine changes a node, and reports each change to its Oracle.
type machine struct {
	node   *node
	oracle *Oracle
	marked map[pci.Address]func() // functions that a profile changes → end of the change
}

func (m *machine) sandbox(t *rapid.T) {
	id := rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id")
	if m.node.sandboxes[id] = sandboxGen(id).Draw(t, "sandbox"); rapid.Bool().Draw(t, "deleted") {
		delete(m.node.sandboxes, id)
	}
	m.oracle.SandboxChanged(id)
}

func (m *machine) allocation(t *rapid.T) {
	fn := functionGen.Draw(t, "function")
	if m.node.allocations[fn] = gave(resourceGen.Draw(t, "as"), fn); rapid.Bool().Draw(t, "ended") {
		delete(m.node.allocations, fn)
	}
	if rapid.Bool().Draw(t, "all") {
		m.oracle.AllocationsChanged()
		return
	}
	m.oracle.AllocationsChanged(fn)
}

func (m *machine) devices(t *rapid.T) {
	m.node.snapshot = snapshotGen.Draw(t, "devices")
	m.oracle.sightings.setDevices(m.node.snapshot)
}

func (m *machine) host(t *rapid.T) {
	m.node.host = map[string]HostLink{netdevGen.Draw(t, "netdev"): {OnTop: []string{"ens1f0.100"}}}
	m.oracle.host.set(m.node.host)
}

func (m *machine) kubelet(t *rapid.T) {
	m.node.grants = []Grant{{resourceGen.Draw(t, "as"), functionGen.Draw(t, "function").String(), podA}}
	if err := m.oracle.grants.read(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) change(t *rapid.T) {
	fn := functionGen.Draw(t, "function")
	if end := m.marked[fn]; end != nil {
		end()
		delete(m.marked, fn)
		return
	}
	end, err := m.oracle.Change(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	m.marked[fn] = end
}

func (m *machine) compare(t *rapid.T) {
	got := m.oracle.View()
	f := Facts{
		Devices: m.node.snapshot, Sandboxes: slices.Collect(maps.Values(m.node.sandboxes)), Grants: m.node.grants,
		Allocations: slices.Collect(maps.Values(m.node.allocations)), Groups: vfioGroups(got), OnTop: map[string][]string{},
		Changing: slices.Collect(maps.Keys(m.marked)), Settling: slices.Collect(maps.Keys(got.settling)),
	}
	for name, l := range m.node.host {
		f.OnTop[name] = l.OnTop
	}
	want := NewView(f)
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Fatalf("uses (-from scratch +incremental):\n%s", diff)
	}
	if diff := cmp.Diff(want.index.netdevs, got.index.netdevs); diff != "" {
		t.Fatalf("netdevs (-from scratch +incremental):\n%s", diff)
	}
}

// vfioGroups are the groups that matter to a View.
func vfioGroups(v *View) map[int][]groupMember {
	all := groups()
	for i := range 7 { // a VF of a group of its own; /sys shows no members in this test
		if g := 20 + i; v.groups[g] != nil {
			all[g] = v.groups[g]
		}
	}
	return all
}
