package custody

import (
	"fmt"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// largeNode has 1,000 VFs, of which 250 sandboxes hold one each.
func largeNode(b *testing.B) (*node, *Oracle) {
	b.Helper()
	n := newNode()
	var pfs []device.PF
	for p := range 8 {
		nic := device.PF{Address: pci.Address{Bus: uint8(p + 1)}, Driver: "ice", Netdev: fmt.Sprintf("ens%d", p), IOMMUGroup: -1}
		for i := range 125 {
			nic.VFs = append(nic.VFs, device.VF{
				Address: pci.Address{Bus: uint8(p + 1), Device: uint8(1 + i/8), Function: uint8(i % 8)}, PF: nic.Address, Index: i,
				Driver: "iavf", Netdev: fmt.Sprintf("ens%dv%d", p, i), IOMMUGroup: p*125 + i,
			})
		}
		pfs = append(pfs, nic)
	}
	n.snapshot = inventory.NewSnapshot(pfs, nil)
	for i := range 250 {
		id, fn := fmt.Sprint(i), pfs[i%8].VFs[i/8].Address
		n.sandboxes[id], n.allocations[fn] = holds(id, podA, fast, fn), gave(fast, fn)
	}
	return n, New(n.sources())
}

// devices B9: one change has a budget of 10 ms CPU, of all that the agent does.
func BenchmarkSandboxChanged(b *testing.B) {
	n, o := largeNode(b)
	with, without := n.sandboxes["7"], ledger.Sandbox{ID: "7"}
	for i := 0; b.Loop(); i++ {
		if n.sandboxes["7"] = with; i%2 == 0 {
			n.sandboxes["7"] = without
		}
		o.SandboxChanged("7")
	}
}

func BenchmarkDevicesChanged(b *testing.B) {
	n, o := largeNode(b)
	other := inventory.NewSnapshot(append([]device.PF{{Address: pf, Netdev: "new"}}, n.snapshot.PFs...), nil)
	for i := 0; b.Loop(); i++ {
		if s := n.snapshot; i%2 == 0 {
			o.sightings.setDevices(other)
		} else {
			o.sightings.setDevices(s)
		}
	}
}

func BenchmarkToAllocateAll(b *testing.B) {
	n, o := largeNode(b)
	v := o.View()
	v.unread = nil
	for b.Loop() {
		for _, p := range n.snapshot.PFs {
			for i := range p.VFs {
				v.ToAllocate(p.VFs[i].Address, fast)
			}
		}
	}
}

func BenchmarkNewView(b *testing.B) {
	n, _ := largeNode(b)
	f := Facts{Devices: n.snapshot}
	for _, s := range n.sandboxes {
		f.Sandboxes = append(f.Sandboxes, s)
	}
	for b.Loop() {
		NewView(f)
	}
}
