package custody

import (
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

const (
	fast = "fairlead.dev/fast"
	slow = "fairlead.dev/slow"
)

var (
	pf    = pci.MustParseAddress("0000:3b:00.0") // ens1f0
	vf0   = vf(0)                                // ens1f0v0 to ens1f0v3: igbvf
	vf1   = vf(1)
	vf2   = vf(2)
	vf3   = vf(3)
	vf4   = vf(4)                                // vfio-pci, IOMMU group 12
	vf5   = vf(5)                                // vfio-pci, IOMMU group 12
	vf6   = vf(6)                                // vfio-pci, IOMMU group 13, with a USB controller
	usb   = pci.MustParseAddress("0000:3b:1f.0") // no function of the snapshot
	since = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	podA  = ledger.PodRef{Namespace: "team-a", Name: "web", UID: "a"}
	podB  = ledger.PodRef{Namespace: "team-b", Name: "db", UID: "b"}
)

func vf(index int) pci.Address {
	return pci.Address{Bus: 0x3b, Device: 0x10, Function: uint8(index)}
}

// nic is a PF with 7 VFs, as nobody uses them.
func nic() device.PF {
	p := device.PF{Address: pf, Driver: "igb", Netdev: "ens1f0", AltNames: []string{"enp59s0f0"}, IOMMUGroup: 7, TotalVFs: 7, NumVFs: 7}
	for i := range 7 {
		v := device.VF{Address: vf(i), PF: pf, Index: i, Driver: "igbvf", Netdev: fmt.Sprintf("ens1f0v%d", i), IOMMUGroup: 20 + i}
		if i >= 4 {
			v.Driver, v.Netdev, v.IOMMUGroup = "vfio-pci", "", 12+(i-4)/2
		}
		p.VFs = append(p.VFs, v)
	}
	return p
}

func snapshot(change ...func(*device.PF)) *inventory.Snapshot {
	p := nic()
	for _, c := range change {
		c(&p)
	}
	return inventory.NewSnapshot([]device.PF{p}, nil)
}

// away takes the netdev of a VF to another namespace.
func away(index int) func(*device.PF) {
	return func(p *device.PF) { p.VFs[index].Netdev = "" }
}

type (
	groupMember  = sysfs.GroupMember
	pciAddress   = pci.Address
	snapshotType = inventory.Snapshot
)

func groups() map[int][]sysfs.GroupMember {
	return map[int][]sysfs.GroupMember{
		12: {{Address: vf4, Driver: "vfio-pci"}, {Address: vf5, Driver: "vfio-pci"}},
		13: {{Address: vf6, Driver: "vfio-pci"}, {Address: usb}},
	}
}

// holds is a sandbox that holds a function for a resource.
func holds(id string, pod ledger.PodRef, resource string, fn pci.Address) ledger.Sandbox {
	return ledger.Sandbox{ID: id, Pod: pod, Created: since, Attachments: []ledger.Attachment{
		{Network: "default/net", IfName: "net1", Phase: ledger.Bound, Resource: resource, Members: []ledger.Member{
			{Plugin: "sriov", Device: fn, VF: &ledger.VFMember{Original: ledger.VFState{Netdev: &ledger.NetdevState{Name: "was"}}}},
		}},
	}}
}

// carries is a sandbox with a macvlan on a netdev.
func carries(id string, pod ledger.PodRef, uplink string) ledger.Sandbox {
	return ledger.Sandbox{ID: id, Pod: pod, Created: since, Attachments: []ledger.Attachment{
		{Network: "default/macvlan", IfName: "net1", Phase: ledger.Bound, Members: []ledger.Member{
			{Plugin: "macvlan", Child: &ledger.ChildMember{Uplink: uplink}},
		}},
	}}
}

func failing(s ledger.Sandbox, attempts int, failure string) ledger.Sandbox {
	s.Releasing, s.Attempts, s.Failure = true, attempts, failure
	return s
}

func gave(resource string, fn pci.Address) ledger.Allocation {
	return ledger.Allocation{Resource: resource, Device: fn, At: since}
}

// text prints the uses of all functions, one line each.
func text(v *View, fns ...pci.Address) string {
	if len(fns) == 0 {
		fns = append([]pci.Address{pf}, nic7()...)
	}
	var b strings.Builder
	for _, fn := range fns {
		uses := v.Uses(fn)
		if len(uses) == 0 {
			fmt.Fprintf(&b, "%s free\n", fn)
		}
		for _, u := range uses {
			fmt.Fprintf(&b, "%s %s: %s\n", fn, u.Kind, u.Reason())
		}
	}
	return b.String()
}

func nic7() []pci.Address {
	var fns []pci.Address
	for i := range 7 {
		fns = append(fns, vf(i))
	}
	return fns
}
