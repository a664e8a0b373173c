package view

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/state"
)

var update = flag.Bool("update", false, "write the golden files again")

// checkGolden compares text with testdata/NAME, which people can read and diff.
func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); go test -update writes it again:\n%s", path, diff)
	}
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// igb returns a PF like those of the lab: a bus of its own, VFs at 10.0, 10.2 …
func igb(bus, index, numa, numVFs int, netdev string) device.PF {
	pf := device.PF{
		Address: pci.MustParseAddress(fmt.Sprintf("0000:%02x:00.0", bus)), Vendor: "8086", Device: "10c9",
		ProductName: "82576 Gigabit", Driver: "igb", Netdev: netdev, Ifindex: 2 + index, LinkType: "ether",
		Carrier: true, OperState: "up", MAC: fmt.Sprintf("52:54:00:00:%02x:00", bus), MTU: 9000,
		NUMANode: numa, IOMMUGroup: -1, TotalVFs: 7, NumVFs: numVFs,
	}
	for i := range numVFs {
		pf.VFs = append(pf.VFs, device.VF{
			Address: pci.MustParseAddress(fmt.Sprintf("0000:%02x:10.%d", bus, 2*i%8)), PF: pf.Address, Index: i,
			Vendor: "8086", Device: "10ca", Driver: "igbvf", Netdev: fmt.Sprintf("%sv%d", netdev, i), LinkType: "ether",
			MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", bus, i+1), MTU: 1500, NUMANode: numa, IOMMUGroup: 20 + i,
		})
		if i >= 4 {
			pf.VFs[i].Address = pci.MustParseAddress(fmt.Sprintf("0000:%02x:11.%d", bus, 2*i%8))
		}
	}
	return pf
}

// busyNode has every kind of VF: held by a kernel network, held in userspace, handed out but
// unused, free, in no pool, unhealthy.
func busyNode() state.State {
	pf0, pf1 := igb(2, 0, 0, 6, "pf0"), igb(3, 1, 1, 7, "pf1")
	for _, i := range []int{4, 5} {
		pf0.VFs[i].Driver, pf0.VFs[i].Netdev, pf0.VFs[i].MAC, pf0.VFs[i].MTU = "vfio-pci", "", "", 0
	}
	pf0.VFs[0].Netdev, pf0.VFs[0].MAC, pf0.VFs[0].MTU = "", "", 0
	pf1.VFs[5].Driver, pf1.VFs[5].Netdev = "", ""
	pf0.VFs[3].Netdev, pf0.VFs[3].MAC, pf0.VFs[3].MTU = "", "", 0
	addresses := func(pf device.PF, indexes ...int) []pci.Address {
		var out []pci.Address
		for _, i := range indexes {
			out = append(out, pf.VFs[i].Address)
		}
		return out
	}
	return state.Build(state.Input{
		Node: "node1", Build: "v0.1.0-3-gabc1234", Time: noon, PFs: []device.PF{pf0, pf1},
		Knobs: map[pci.Address]device.Settings{
			pf0.VFs[0].Address: {AdminMAC: ptr("02:00:00:00:01:0a"), VLAN: ptr(100), Trust: ptr(true), SpoofCheck: ptr(false)},
			pf0.VFs[4].Address: {AdminMAC: ptr("02:00:00:00:01:0d"), VLAN: ptr(100), Trust: ptr(false), SpoofCheck: ptr(true)},
		},
		Pools: []state.PoolMembers{
			{Resource: "fairlead.dev/fast", Type: device.NetDevice, Source: `profile "lab", group 0`, Devices: addresses(pf0, 0, 1, 2, 3)},
			{Resource: "fairlead.dev/dpdk", Type: device.NetDevice, Source: `profile "lab", group 1`, Devices: addresses(pf0, 4, 5)},
			{Resource: "fairlead.dev/held-back", Type: device.NetDevice, Source: `profile "spare", group 0`, Idle: true,
				Devices: addresses(pf1, 0, 1, 2, 3, 5), Unhealthy: map[pci.Address]string{pf1.VFs[5].Address: "no driver is bound to it"}},
		},
		Allocated: map[pci.Address]ledger.PodRef{
			pf0.VFs[0].Address: {}, pf0.VFs[1].Address: {}, pf0.VFs[3].Address: {}, pf0.VFs[4].Address: {},
			pf0.VFs[5].Address: {Namespace: "demo", Name: "adrift"}, // the ledger was lost
		},
		Failing: []state.FailingPod{
			{Pod: ledger.PodRef{Namespace: "demo", Name: "waits"}, Network: "demo/fast", IfName: "net1", Step: "plan the networks",
				Cause: "too few devices of resource fairlead.dev/fast: 2 asked for (by demo/fast, demo/fast), 1 allocated to the pod by the kubelet; request fairlead.dev/fast: 2 in the pod's container resources",
				Count: 7, First: noon.Add(-5 * time.Minute), Last: noon.Add(-40 * time.Second)},
			{Pod: ledger.PodRef{Namespace: "demo", Name: "nobody"}, Cause: "no primary network", Count: 1, First: noon, Last: noon},
		},
		Sandboxes: []ledger.Sandbox{
			{ID: "5e3f6f4b7a90c1d2", Pod: ledger.PodRef{Namespace: "demo", Name: "alpha"}, Created: noon, Attachments: []ledger.Attachment{
				{Network: "lab", IfName: "eth0", Phase: ledger.Bound, Members: []ledger.Member{{Type: "bridge", Plugin: "binary"}}},
				{
					Network: "demo/vlan100", IfName: "net1", Phase: ledger.Bound, Resource: "fairlead.dev/fast",
					Members: []ledger.Member{{Type: "sriov", Plugin: "sriov", Device: pf0.VFs[0].Address, VF: &ledger.VFMember{
						Original: ledger.VFState{PF: pf0.Address, PFName: "pf0", Index: 0, Netdev: &ledger.NetdevState{Name: "pf0v0"}, Settings: device.Settings{Driver: "igbvf", MAC: "52:54:00:00:02:01", MTU: ptr(1500), AdminMAC: ptr("00:00:00:00:00:00"), VLAN: ptr(0), QoS: ptr(0), SpoofCheck: ptr(true), Trust: ptr(false)}},
						Asked:    device.Settings{MAC: "02:00:00:00:01:0a", MTU: ptr(9000), VLAN: ptr(100), Trust: ptr(true), SpoofCheck: ptr(false)},
					}}},
					Result: cniResult("net1", "02:00:00:00:01:0a", "10.100.0.10/24"),
				},
			}},
			{ID: "77aa", Pod: ledger.PodRef{Namespace: "nfv", Name: "upf-0"}, Created: noon, Attachments: []ledger.Attachment{
				{Network: "nfv/data-plane", IfName: "data0", Phase: ledger.Bound, Resource: "fairlead.dev/dpdk", Members: []ledger.Member{{Type: "sriov", Plugin: "vfio", Device: pf0.VFs[4].Address}},
					Result: cniResult("data0", "02:00:00:00:01:0d", "10.100.0.13/24")},
			}},
			{ID: "88bb", Pod: ledger.PodRef{Namespace: "demo", Name: "gone"}, Created: noon, Releasing: true, Attempts: 3,
				Failure: "restore MTU of VF 3 on pf0: device or resource busy", Attachments: []ledger.Attachment{
					{Network: "demo/vlan100", IfName: "net1", Phase: ledger.Intent, Members: []ledger.Member{{Type: "sriov", Plugin: "sriov", Device: pf0.VFs[3].Address}}},
				}},
			{ID: "99cc", Pod: ledger.PodRef{Namespace: "demo", Name: "second"}, Created: noon, Attachments: []ledger.Attachment{
				{Network: "demo/macvlan-conf", IfName: "net1", Phase: ledger.Bound,
					Members: child("macvlan", ledger.ChildMember{Uplink: "pf0", MAC: "9a:00:00:00:00:01", MTU: 1500}), Result: cniResult("net1", "9a:00:00:00:00:01", "192.168.1.200/24")},
				{Network: "demo/ipvlan-conf", IfName: "net2", Phase: ledger.Bound,
					Members: child("ipvlan", ledger.ChildMember{Uplink: "eth0", MTU: 1500}), Result: cniResult("net2", "", "192.168.2.200/24")},
			}},
		},
		Profiles: []state.ProfileReport{
			{Name: "spare", Source: "/etc/fairlead/profiles.d/spare.yaml", Ready: false, Message: "pf1: VF 4: bind to vfio-pci: no such device: is the vfio-pci module loaded?"},
			{Name: "lab", Source: "/etc/fairlead/profiles.d/lab.yaml", Ready: true},
		},
		Tombstones: 1,
	})
}

// quietNode has two PFs, outside any NUMA node, and a pod with the declared fallback on the
// first. Nobody uses the second, which is down.
func quietNode() state.State {
	down := igb(3, 0, -1, 0, "pf1")
	down.Carrier = false
	return state.Build(state.Input{
		Node: "node2", Time: noon, PFs: []device.PF{igb(2, 0, -1, 0, "pf0"), down},
		Sandboxes: []ledger.Sandbox{{ID: "11dd", Pod: ledger.PodRef{Namespace: "demo", Name: "delta"}, Created: noon, Attachments: []ledger.Attachment{
			{Network: "demo/vlan100-or-macvlan", IfName: "net1", Phase: ledger.Bound,
				Fallback: &ledger.Fallback{From: "sriov", Reason: "the pod requested no device of fairlead.dev/fast"},
				Members:  child("macvlan", ledger.ChildMember{Uplink: "pf0", VLAN: 100, MTU: 9000}), Result: cniResult("net1", "9a:00:00:00:00:07", "10.100.0.14/24")},
		}}},
	})
}

// guest is a virtual machine that was given two VFs, one of which a pod has.
func guest() state.State {
	vfs := []device.VF{
		{Address: pci.MustParseAddress("0000:00:05.0"), Vendor: "8086", Device: "10ca", Driver: "igbvf", NUMANode: -1, IOMMUGroup: -1},
		{Address: pci.MustParseAddress("0000:00:04.0"), Vendor: "8086", Device: "10ca", Driver: "igbvf", Netdev: "eth1", MTU: 1500, NUMANode: -1, IOMMUGroup: -1},
	}
	return state.Build(state.Input{
		Node: "guest1", Time: noon, Lone: vfs,
		Pools: []state.PoolMembers{{Resource: "fairlead.dev/vm", Type: device.NetDevice, Source: "config.json", Devices: []pci.Address{vfs[0].Address, vfs[1].Address}}},
		Sandboxes: []ledger.Sandbox{{ID: "22ee", Pod: ledger.PodRef{Namespace: "demo", Name: "inside"}, Created: noon, Attachments: []ledger.Attachment{
			{Network: "demo/plain", IfName: "net1", Phase: ledger.Bound, Members: []ledger.Member{{Type: "sriov", Plugin: "sriov", Device: vfs[0].Address}}, Result: cniResult("net1", "52:54:00:00:09:01", "10.9.0.2/24")},
		}}},
	})
}

// wholeNode has a PF that a pod has as a whole, one that the host uses, and two NICs without
// SR-IOV, of which one is in no pool.
func wholeNode() state.State {
	held, mgmt := igb(2, 0, 0, 0, ""), igb(3, 1, 0, 0, "eth0")
	nic := device.PF{Address: pci.MustParseAddress("0000:04:00.0"), Vendor: "8086", Device: "10d3", Driver: "e1000e", Netdev: "eth1", Carrier: true, MTU: 1500, NUMANode: -1, IOMMUGroup: -1}
	other := nic
	other.Address, other.Netdev = pci.MustParseAddress("0000:05:00.0"), "eth2"
	return state.Build(state.Input{
		Node: "node4", Time: noon, PFs: []device.PF{held, mgmt}, NICs: []device.PF{nic, other},
		Pools: []state.PoolMembers{{Resource: "nvidia.com/hostdev", Type: device.NetDevice, Source: "config.json", Devices: []pci.Address{held.Address, mgmt.Address, nic.Address},
			Unhealthy: map[pci.Address]string{mgmt.Address: "the host uses its netdev eth0"}, Incidental: map[pci.Address]bool{mgmt.Address: true}}},
		Sandboxes: []ledger.Sandbox{{ID: "33ff", Pod: ledger.PodRef{Namespace: "demo", Name: "whole"}, Created: noon, Attachments: []ledger.Attachment{
			{Network: "demo/whole", IfName: "net1", Phase: ledger.Bound, Members: []ledger.Member{{Type: "sriov", Plugin: "sriov", Device: held.Address}}, Result: cniResult("net1", "52:54:00:00:09:01", "10.9.0.2/24")},
		}}},
	})
}

func child(plugin string, link ledger.ChildMember) []ledger.Member {
	return []ledger.Member{{Type: plugin, Plugin: plugin, Child: &link}}
}

func cniResult(ifname, mac, address string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"cniVersion":"1.0.0","interfaces":[{"name":%q,"mac":%q,"sandbox":"/run/netns/x"}],"ips":[{"address":%q,"interface":0}]}`,
		ifname, mac, address))
}
