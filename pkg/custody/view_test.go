package custody

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// busyNode has a use of each kind.
func busyNode() Facts {
	return Facts{
		Devices: snapshot(away(2), away(3)),
		Sandboxes: []ledger.Sandbox{
			carries("c1", podA, "ens1f0"), carries("c2", podB, "enp59s0f0"),
			failing(holds("s1", podA, fast, vf1), 7, "set MAC: device or resource busy"),
			holds("s2", podB, slow, vf2),
		},
		Allocations: []ledger.Allocation{gave(slow, vf2), gave(fast, vf4)},
		Grants:      []Grant{{Resource: "intel.com/nic", DeviceID: vf0.String(), Pod: podB}},
		Host:        map[string]string{"ens1f0": "for a default route"},
		OnTop:       map[string][]string{"ens1f0v0": {"mgmt.5"}},
		Groups:      groups(),
		Open:        []pci.Address{vf6},
		Changing:    []pci.Address{vf6},
	}
}

// devices A1, A4, A7, A8, reports 16: who uses what, as an administrator reads it.
func TestUsesOfANode(t *testing.T) {
	want := strings.TrimLeft(`
0000:3b:00.0 host: the host uses its netdev ens1f0 for a default route: end that use, or leave the function to the host
0000:3b:00.0 children: pod team-a/web (net1) has a link on its netdev ens1f0: it is free when that pod is deleted
0000:3b:00.0 children: pod team-b/db (net1) has a link on its netdev enp59s0f0: it is free when that pod is deleted
0000:3b:10.0 host: the host uses its netdev ens1f0v0 below mgmt.5: end that use, or leave the function to the host
0000:3b:10.0 allocation: the kubelet gave it to pod team-b/db as intel.com/nic: it is free when that container has ended
0000:3b:10.1 release: pod team-a/web (net1) still has it as fairlead.dev/fast: its release has failed 7 times, with: set MAC: device or resource busy; trying again
0000:3b:10.2 sandbox: pod team-b/db (net1) has it as fairlead.dev/slow: it is free when that pod is deleted
0000:3b:10.2 allocation: the kubelet gave it to a container as fairlead.dev/slow: it is free when that container has ended
0000:3b:10.3 namespace: its driver igbvf is bound, but its netdev is not on the host, and no pod is on record: it is in a network namespace of other software, or the driver made no netdev (see the kernel log)
0000:3b:10.4 allocation: the kubelet gave it to a container as fairlead.dev/fast: it is free when that container has ended
0000:3b:10.5 group: a container has 0000:3b:10.4, which is in the same IOMMU group, and VFIO gives a group to one user only: it is free when 0000:3b:10.4 is free; with ACS each function has a group of its own
0000:3b:10.6 vfio: a process has it open through VFIO, without a record of it here: end that process (a virtual machine or a DPDK program of the host)
0000:3b:10.6 change: a profile is changing it: try again in a moment
`, "\n")
	if diff := cmp.Diff(want, text(NewView(busyNode()))); diff != "" {
		t.Errorf("uses (-want +got):\n%s", diff)
	}
}

// S21: the text for a pod's author names no other pod, no link, no other function.
func TestTenantReasonsNameNobody(t *testing.T) {
	facts := busyNode()
	facts.Pooled = map[pci.Address]string{vf0: fast}
	facts.Unread = map[string]string{"read the ledger": "disk /dev/secret"}
	v := NewView(facts)
	pool, _ := NewView(Facts{Devices: facts.Devices, Pooled: facts.Pooled}).ToCarry("ens1f0v0", "x")
	uses := []Use{pool, {Kind: GroupDriver, Function: usb, Driver: "xhci_hcd"}}
	for _, fn := range append(nic7(), pf) {
		uses = append(uses, v.Uses(fn)...)
	}
	for _, u := range uses {
		for _, secret := range []string{"team-", "web", "ens1", "3b:", "mgmt", "secret", "xhci"} {
			if got := u.TenantReason(); got == "" || strings.Contains(got, secret) {
				t.Errorf("%s: %q names %q", u.Kind, got, secret)
			}
		}
	}
}

// An administrator who searches the documentation for a reason finds its row.
func TestReasonsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, phrase := range map[Kind]string{
		Unknown: "nobody can say who uses it", Host: "the host uses its netdev ", Sandbox: " has it as ", Release: "its release has failed ",
		Allocation: "the kubelet gave it to ", Children: " has a link on its netdev ", VFIO: "a process has it open through VFIO",
		Namespace: "its netdev is not on the host, and no pod is on record", Group: " is in the same IOMMU group",
		GroupDriver: " is in the same IOMMU group", Change: "a profile is changing it", Pool: "it is advertised as ",
		Governed: "governs this PF and hands out its VFs",
	} {
		reason := Use{Kind: kind, Resource: fast}.Reason()
		if !strings.Contains(reason, phrase) || !strings.Contains(string(raw), phrase) {
			t.Errorf("%s: reason and documentation must both say %q: %s", kind, phrase, reason)
		}
	}
}

// questions are the findings, each with the question that was answered wrongly.
var questions = []struct {
	name  string
	facts Facts
	ask   func(*View) []Use
	want  string // the kinds of the answer
}{
	{"devices A1: a VLAN of the node on a VF", Facts{OnTop: map[string][]string{"ens1f0v0": {"mgmt.5"}}}, toChange(vf0), "host"},
	{"devices A1: a PF that is a port of a bridge", Facts{Host: map[string]string{"ens1f0": "as a port of a bridge or bond"}}, toChange(pf), "host"},
	{"devices A1: a PF that carries pods' macvlan", Facts{Sandboxes: []ledger.Sandbox{carries("a", podA, "ens1f0")}}, toChange(pf), "children"},
	{"devices A1: a PF by an altname", Facts{Sandboxes: []ledger.Sandbox{carries("a", podA, "enp59s0f0")}}, toChange(pf), "children"},
	{"devices A1: a PF whose VF a pod has", Facts{Sandboxes: []ledger.Sandbox{holds("a", podA, fast, vf1)}}, toChange(pf), "sandbox"},
	{"a profile's own mark is no use", Facts{Changing: []pci.Address{vf0, pf}}, toChange(pf), ""},
	{"a holder of an earlier boot has no VF that a profile could take away", Facts{Sandboxes: []ledger.Sandbox{rebooted(holds("a", podA, fast, vf1))}}, toChange(vf1), ""},
	{"a link of an earlier boot is gone", Facts{Sandboxes: []ledger.Sandbox{rebooted(carries("a", podA, "ens1f0v0"))}}, toAllocate(vf0, fast), ""},

	{"devices A4: no netdev here and no record", Facts{Devices: snapshot(away(3))}, toAllocate(vf3, fast), "namespace"},
	{"lab F: a lost ledger while pods run", Facts{Devices: snapshot(away(3))}, toChange(vf3), "namespace"},
	{"devices A4: a VM has it open", Facts{Open: []pci.Address{vf6}}, toAllocate(vf6, fast), "vfio"},
	{"devices A4, meta-cni A1: pods' links are on top of it", Facts{Sandboxes: []ledger.Sandbox{carries("a", podA, "ens1f0v0")}}, toAllocate(vf0, fast), "children"},
	{"devices A4: the kubelet lists it under another resource", Facts{Grants: []Grant{{"intel.com/nic", vf0.String(), podA}}}, toAllocate(vf0, fast), "allocation"},
	{"the kubelet lists it under this resource", Facts{Grants: []Grant{{fast, vf0.String(), podA}}}, toAllocate(vf0, fast), ""},
	{"ids of other devices are no functions", Facts{Grants: []Grant{{"nvidia.com/gpu", "GPU-1", podA}}}, toAllocate(vf0, fast), ""},
	{"the kubelet's own allocation", Facts{Devices: snapshot(away(0)), Sandboxes: []ledger.Sandbox{holds("a", podA, fast, vf0)}, Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAllocate(vf0, fast), ""},
	{"a container without a network has its netdev", Facts{Devices: snapshot(away(0)), Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAllocate(vf0, fast), ""},
	{"as another pool's", Facts{Sandboxes: []ledger.Sandbox{holds("a", podA, slow, vf0)}, Allocations: []ledger.Allocation{gave(slow, vf0)}}, toAllocate(vf0, fast), "sandbox"},
	{"security S3: a pod that named it has it as the pool's, without an allocation", Facts{Sandboxes: []ledger.Sandbox{holds("a", podA, fast, vf0)}}, toAllocate(vf0, fast), "sandbox"},
	{"security S3: a pod that named it, though an allocation is on record", Facts{Sandboxes: []ledger.Sandbox{named(holds("a", podA, fast, vf0))}, Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAllocate(vf0, fast), "sandbox"},
	{"devices C13: a stale allocation hides no holder", Facts{Sandboxes: []ledger.Sandbox{holds("a", podA, "", vf0)}, Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAllocate(vf0, fast), "sandbox"},
	{"devices A8: its release fails", Facts{Sandboxes: []ledger.Sandbox{failing(holds("a", podA, fast, vf0), 7, "EBUSY")}, Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAllocate(vf0, fast), "release"},
	{"its release is under way", Facts{Sandboxes: []ledger.Sandbox{failing(holds("a", podA, fast, vf0), 0, "")}, Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAllocate(vf0, fast), ""},
	{"the ledger cannot be read", Facts{Unread: map[string]string{"read the ledger": "EIO"}}, toAllocate(vf0, fast), "unknown"},
	{"a profile changes it", Facts{Changing: []pci.Address{vf0}}, toAllocate(vf0, fast), "change"},
	{"its netdev is on its way", Facts{Devices: snapshot(away(3)), Settling: []pci.Address{vf3}}, toAllocate(vf3, fast), ""},

	{"devices A7, security S13: the group is allocated", Facts{Groups: groups(), Allocations: []ledger.Allocation{gave(fast, vf4)}}, toAllocate(vf5, fast), "group"},
	{"devices A7: its own allocation stays", Facts{Groups: groups(), Allocations: []ledger.Allocation{gave(fast, vf4), gave(fast, vf5)}}, toAllocate(vf5, fast), ""},
	{"devices A7: a pod has the other member", Facts{Groups: groups(), Sandboxes: []ledger.Sandbox{holds("a", podA, slow, vf4)}}, toAllocate(vf5, fast), "group"},
	{"devices A7: a member has a driver of the kernel", Facts{Groups: kernelMember(), Devices: snapshot(kernel(4))}, toAllocate(vf5, fast), "group driver"},
	{"devices A7: a function that is no VF has a driver of the kernel", withUSB("xhci_hcd"), toAllocate(vf6, fast), "group driver"},
	{"a bridge in the group does not keep VFIO out", withUSB("pcieport"), toAllocate(vf6, fast), ""},
	{"devices A7: a profile may bind it away from the kernel's driver", withUSB("xhci_hcd"), toChange(vf6), ""},
	{"the group of a function of the kernel's does not matter", Facts{Groups: map[int][]groupMember{20: {{Address: vf0, Driver: "igbvf"}, {Address: usb, Driver: "xhci_hcd"}}}}, toAllocate(vf0, fast), ""},

	{"meta-cni A1: a VF that carries another pod's link", Facts{Sandboxes: []ledger.Sandbox{carries("a", podA, "ens1f0v0")}}, toAttach(vf0, true), "children"},
	{"meta-cni A2, security S6: a function below the host's link", Facts{OnTop: map[string][]string{"ens1f0v0": {"node0"}}}, toAttach(vf0, false), "host"},
	{"meta-cni A6, security S12: allocated to another pod", Facts{Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAttach(vf0, false), "allocation"},
	{"given to the pod", Facts{Allocations: []ledger.Allocation{gave(fast, vf0)}}, toAttach(vf0, true), ""},
	{"its own sandbox", Facts{Sandboxes: []ledger.Sandbox{holds("mine", podB, fast, vf0)}}, toAttach(vf0, false), ""},
	{"security S12: another pod's", Facts{Sandboxes: []ledger.Sandbox{holds("a", podA, fast, vf0)}}, toAttach(vf0, true), "sandbox"},
	{"security S4: a VM drives it", Facts{Open: []pci.Address{vf6}}, toAttach(vf6, false), "vfio"},
	{"security S13: another pod has the group", Facts{Groups: groups(), Sandboxes: []ledger.Sandbox{holds("a", podA, "", vf4)}}, toAttach(vf5, false), "group"},
	{"a pod with the whole group", Facts{Groups: groups(), Sandboxes: []ledger.Sandbox{holds("mine", podB, "", vf4)}}, toAttach(vf5, false), ""},
	{"a PF whose VFs pods have", Facts{Sandboxes: []ledger.Sandbox{holds("a", podA, fast, vf0)}}, toAttach(pf, false), "sandbox"},

	{"lab A: a master in a pool", Facts{Pooled: map[pci.Address]string{vf0: fast}}, toCarry("ens1f0v0"), "pool"},
	{"lab A: a master that is allocated", Facts{Allocations: []ledger.Allocation{gave(fast, vf0)}}, toCarry("ens1f0v0"), "allocation"},
	{"devices A1: the PF of a pool", Facts{Pooled: map[pci.Address]string{vf0: fast}, Host: map[string]string{"ens1f0": "with the address 10.0.0.1/24"}}, toCarry("ens1f0"), ""},
	{"a VF that others' links lie on", Facts{Sandboxes: []ledger.Sandbox{carries("a", podA, "ens1f0v0")}}, toCarry("ens1f0v0"), ""},
	{"the host's use of its links is unknown", Facts{Unread: map[string]string{hostSource: "not read yet"}}, toCarry("ens1f0"), ""},
	{"who holds devices is not known", Facts{Unread: map[string]string{ledgerSource: "EIO"}}, toCarry("ens1f0"), "unknown"},
	{"a netdev that is no function's", Facts{}, toCarry("dummy0"), ""},
	{"reports 8: a whole PF that is free", whole(Facts{}), toAllocate(pf, fast), ""},
	{"reports 8: the host uses a whole PF", whole(Facts{Host: map[string]string{"ens1f0": "for a default route"}}), toAllocate(pf, fast), "host"},
	{"reports 8: the host uses its second netdev", whole(Facts{Host: map[string]string{"port1": "for a default route"}}), toAllocate(pf, fast), "host"},
	{"reports 8: the host uses a NIC without SR-IOV", whole(Facts{OnTop: map[string][]string{"eth5": {"bond0"}}}), toAllocate(usb, fast), "host"},
	{"reports 8: pods' links are on a whole PF", whole(Facts{Sandboxes: []ledger.Sandbox{carries("a", podA, "enp59s0f0")}}), toAllocate(pf, fast), "children"},
	{"reports 8: a profile governs a whole PF", whole(Facts{Governed: map[pci.Address]string{pf: "lab"}}), toAllocate(pf, fast), "profile"},
	{"a profile governs the PF of VFs", Facts{Governed: map[pci.Address]string{pf: "lab"}}, toAllocate(vf0, fast), ""},
	{"reports 8: a profile that came after a pod got the PF", whole(Facts{Governed: map[pci.Address]string{pf: "lab"}, Allocations: []ledger.Allocation{gave(fast, pf)}}), toAllocate(pf, fast), ""},
	{"reports 8: a profile may not change a PF that a pod has", whole(Facts{Governed: map[pci.Address]string{pf: "lab"}, Sandboxes: []ledger.Sandbox{holds("a", podA, fast, pf)}}), toChange(pf), "sandbox"},
	{"reports 8: a whole PF that was given to the pod", whole(Facts{Allocations: []ledger.Allocation{gave(fast, pf)}}), toAttach(pf, true), ""},
	{"reports 8: a pod with a link on a whole PF keeps it from others", whole(Facts{Allocations: []ledger.Allocation{gave(fast, pf)}, Sandboxes: []ledger.Sandbox{carries("a", podA, "ens1f0")}}), toAttach(pf, true), "children"},
	{"reports 8: links may be made on a whole PF in a pool", whole(Facts{Pooled: map[pci.Address]string{pf: fast}}), toCarry("ens1f0"), ""},
	{"reports 8: not if it is allocated", whole(Facts{Pooled: map[pci.Address]string{pf: fast}, Allocations: []ledger.Allocation{gave(fast, pf)}}), toCarry("ens1f0"), "allocation"},

	{"pods' VLAN link on a PF is not the host's", Facts{OnTop: map[string][]string{"ens1f0": {"ens1f0.100"}}, Sandboxes: []ledger.Sandbox{onVLAN(carries("a", podA, "ens1f0"), "ens1f0.100")}}, toChange(pf), "children"},
}

func TestQuestions(t *testing.T) {
	for _, q := range questions {
		t.Run(q.name, func(t *testing.T) {
			if q.facts.Devices == nil {
				q.facts.Devices = snapshot()
			}
			var kinds []string
			for _, u := range q.ask(NewView(q.facts)) {
				kinds = append(kinds, string(u.Kind))
			}
			if got := strings.Join(kinds, ", "); got != q.want {
				t.Errorf("got %q, want %q", got, q.want)
			}
		})
	}
}

func toChange(fn pci.Address) func(*View) []Use {
	return func(v *View) []Use { return v.ToChange(fn) }
}

func toAllocate(fn pci.Address, resource string) func(*View) []Use {
	return func(v *View) []Use { return one(v.ToAllocate(fn, resource)) }
}

func toAttach(fn pci.Address, given bool) func(*View) []Use {
	return func(v *View) []Use { return one(v.ToAttach(fn, "mine", podB, given)) }
}

func toCarry(netdev string) func(*View) []Use {
	return func(v *View) []Use { return one(v.ToCarry(netdev, "mine")) }
}

func one(u Use, ok bool) []Use {
	if !ok {
		return nil
	}
	return []Use{u}
}

func named(s ledger.Sandbox) ledger.Sandbox {
	s.Attachments[0].Members[0].Named = true
	return s
}

func rebooted(s ledger.Sandbox) ledger.Sandbox {
	s.EarlierBoot = true
	return s
}

func onVLAN(s ledger.Sandbox, name string) ledger.Sandbox {
	s.Attachments[0].Members[0].Child.VLANLink = name
	return s
}

func kernel(index int) func(*device.PF) {
	return func(p *device.PF) { p.VFs[index].Driver, p.VFs[index].Netdev = "igbvf", "eth9" }
}

func kernelMember() map[int][]groupMember {
	g := groups()
	g[12][0].Driver = "igbvf"
	return g
}

func withUSB(driver string) Facts {
	g := groups()
	g[13] = []groupMember{{Address: vf6, Driver: "vfio-pci"}, {Address: usb, Driver: driver}}
	return Facts{Groups: g}
}

// whole adds a PF without VFs that has two ports, and a NIC without SR-IOV.
func whole(f Facts) Facts {
	p := nic()
	p.VFs, p.NumVFs, p.OtherNetdevs = nil, 0, []string{"port1"}
	f.Devices = inventory.NewSnapshot([]device.PF{p}, nil, device.PF{Address: usb, Driver: "e1000e", Netdev: "eth5", IOMMUGroup: -1})
	return f
}
