package deviceplugin

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// mlx is a PF on bus bus without VFs.
func mlx(bus int, netdev string) device.PF {
	return device.PF{
		Address: pci.Address{Bus: uint8(bus)}, Vendor: "15b3", Device: "1017", Driver: "mlx5_core", Netdev: netdev, LinkType: "ether",
		NUMANode: 0, IOMMUGroup: bus, TotalVFs: 8, RDMADevices: []string{fmt.Sprintf("mlx5_%d", bus)}, Nodes: device.Nodes{Verbs: []string{fmt.Sprintf("uverbs%d", bus)}},
	}
}

// plain is a NIC without SR-IOV.
func plain(bus int, netdev string) device.PF {
	return device.PF{Address: pci.Address{Bus: uint8(bus)}, Vendor: "8086", Device: "10d3", Driver: "e1000e", Netdev: netdev, LinkType: "ether", NUMANode: 0, IOMMUGroup: bus}
}

// byAddress describes an assignment by the last part of the addresses.
func byAddress(a Assignment) string {
	var b strings.Builder
	for _, p := range a.Pools {
		b.WriteString(p.Resource + "\n")
		for _, d := range p.Devices {
			fmt.Fprintf(&b, "  %s %s\n", strings.TrimPrefix(d.VF.Address.String(), "0000:"), strings.SplitN(d.Reason, ":", 2)[0])
		}
	}
	for _, problem := range a.Problems {
		fmt.Fprintf(&b, "! %s\n", problem)
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

// reports 8 and 9: PFs without VFs and NICs without SR-IOV are devices of the ConfigMap's
// pools, unless somebody uses them.
func TestWholeFunctions(t *testing.T) {
	withVFs := igb(2)
	withVFs.Vendor, withVFs.VFs[0].Vendor, withVFs.VFs[1].Vendor = "15b3", "15b3", "15b3"
	free, mgmt, governed, uplink, port := mlx(1, "free0"), mlx(2, "mgmt0"), mlx(3, "prof0"), mlx(4, "up0"), plain(5, "port0")
	twoPorts := plain(6, "two0")
	twoPorts.OtherNetdevs = []string{"two1"}
	unbound := plain(7, "")
	unbound.Driver = ""
	dpdk := plain(8, "")
	dpdk.Driver, dpdk.VFIOGroup = "vfio-pci", "8"
	bareMetal := inventory.NewSnapshot([]device.PF{withVFs, free, mgmt, governed, uplink}, nil, port, twoPorts, unbound, dpdk)
	vm := inventory.NewSnapshot(nil, []device.VF{{Address: pci.Address{Bus: 9}, Vendor: "15b3", Device: "1018", Driver: "mlx5_core", Netdev: "eth1"}}, port, twoPorts, dpdk)
	facts := custody.Facts{
		Sandboxes: []ledger.Sandbox{linkOn("up0")}, Governed: map[pci.Address]string{governed.Address: "fast", withVFs.Address: "fast"},
		Host:  map[string]string{"mgmt0": "for a default route", "two1": "with the address 10.0.0.1/24"},
		OnTop: map[string][]string{"port0": {"bond0"}},
	}
	for name, tt := range map[string]struct {
		node *inventory.Snapshot
		pool device.Pool
		want string
	}{
		"by vendor": {bareMetal, selecting("n/a", device.Selector{Vendors: []string{"15b3"}}),
			"n/a\n  01:00.0\n  02:00.0 the host uses its netdev mgmt0 for a default route\n  03:00.0 profile \"fast\" governs this PF and hands out its VFs\n" +
				"  04:00.0 pod ns/p (net1) has a link on its netdev up0\n  3b:10.0\n  3b:10.2\n"},
		"by kind, NICs without SR-IOV": {bareMetal, selecting("n/a", device.Selector{Vendors: []string{"8086"}}),
			"n/a\n  05:00.0 the host uses its netdev port0 below bond0\n  06:00.0 the host uses its netdev two1 with the address 10.0.0.1/24\n  07:00.0 no driver is bound to it\n  08:00.0\n"},
		"by name":             {bareMetal, selecting("n/a", device.Selector{PFNames: []device.PFRange{{Name: "free0"}, {Name: "port0"}}}), "n/a\n  01:00.0\n  05:00.0 the host uses its netdev port0 below bond0\n"},
		"by name, VFs only":   {bareMetal, selecting("n/a", device.Selector{PFNames: []device.PFRange{{Name: "free0", VFs: []device.IndexRange{{Last: 3}}}}}), "n/a\n"},
		"by root device":      {bareMetal, selecting("n/a", device.Selector{RootDevices: []device.RootRange{{PF: free.Address}}}), "n/a\n  01:00.0\n"},
		"by driver":           {bareMetal, selecting("n/a", device.Selector{Drivers: []string{"vfio-pci"}}), "n/a\n  08:00.0\n"},
		"by RDMA":             {bareMetal, withRDMA(selecting("n/a", device.Selector{PFNames: []device.PFRange{{Name: "free0"}}})), "n/a\n  01:00.0\n"},
		"a profile's group":   {bareMetal, pool("n/a", 0, 0), "n/a\n  3b:10.0\n"},
		"all VFs of profiles": {bareMetal, selecting("n/a", device.Selector{NIC: &device.NICSelector{}}), "n/a\n  3b:10.0\n  3b:10.2\n"},
		"the address of a PF with VFs": {bareMetal, selecting("n/a", device.Selector{PCIAddresses: device.Addresses{pfAddr: true}}),
			"n/a\n! n/a (config.json): pciAddresses names PF 0000:3b:00.0, which has VFs: a PF is handed out only while it has none; select its VFs, or set their number to 0\n"},
		"a virtual machine, by vendor": {vm, selecting("n/a", device.Selector{Vendors: []string{"8086"}}),
			"n/a\n! n/a (config.json): selects nothing: on a node without PFs, such as a virtual machine, NICs that are no known VFs count only if pciAddresses names them: 0000:08:00.0\n"},
		"a virtual machine, its VFs": {vm, selecting("n/a", device.Selector{Vendors: []string{"15b3"}}), "n/a\n  09:00.0\n"},
		"a virtual machine, by address": {vm, selecting("n/a", device.Selector{PCIAddresses: device.Addresses{port.Address: true, dpdk.Address: true}}),
			"n/a\n  05:00.0 the host uses its netdev port0 below bond0\n  08:00.0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			facts := facts
			facts.Devices = tt.node
			if diff := cmp.Diff(tt.want, byAddress(Assign(tt.node, []device.Pool{tt.pool}, custody.NewView(facts)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// reports 8: a pod that has a whole function keeps it in its pool, though its netdev and RDMA
// device are in the pod.
func TestWholeFunctionInAPod(t *testing.T) {
	pf := mlx(1, "")
	pf.RDMADevices, pf.EarlierNames = nil, []string{"free0"}
	s := inventory.NewSnapshot([]device.PF{pf}, nil)
	p := withRDMA(selecting("n/a", device.Selector{PFNames: []device.PFRange{{Name: "free0"}}, LinkTypes: []string{"ether"}}))
	view := custody.NewView(custody.Facts{Devices: s, Allocations: []ledger.Allocation{{Device: pf.Address, Resource: "n/a"}}})
	if got := byAddress(Assign(s, []device.Pool{p}, view)); !strings.HasPrefix(got, "n/a\n  01:00.0\n") {
		t.Errorf("got %s", got)
	}
}

// reports 8: Allocate hands a whole function out with its nodes, and looks again whether it may.
func TestAllocateWholeFunctions(t *testing.T) {
	rdma := withRDMA(selecting("nvidia.com/hostdev", device.Selector{Vendors: []string{"15b3"}}))
	for name, tt := range map[string]struct {
		change func(*sysfstest.Tree)
		late   func(*custody.Facts)
		want   string
	}{
		"free": {want: `PCIDEVICE_NVIDIA_COM_HOSTDEV=0000:01:00.0
PCIDEVICE_NVIDIA_COM_HOSTDEV_INFO={"0000:01:00.0":{"generic":{"deviceID":"0000:01:00.0"},"rdma":{"rdma_cm":"/dev/infiniband/rdma_cm","uverbs":"/dev/infiniband/uverbs1"}}}
/dev/infiniband/uverbs1 /dev/infiniband/uverbs1 rw
/dev/infiniband/rdma_cm /dev/infiniband/rdma_cm rw`},
		"it has VFs by now": {
			change: func(tr *sysfstest.Tree) {
				if err := tr.FS().SetNumVFs(pci.Address{Bus: 1}, 2); err != nil {
					panic(err)
				}
			},
			want: "the PF has VFs by now"},
		"the host uses it by now":       {late: func(f *custody.Facts) { f.Host = map[string]string{"free0": "for a default route"} }, want: "the host uses its netdev free0 for a default route"},
		"a profile governs it by now":   {late: func(f *custody.Facts) { f.Governed = map[pci.Address]string{{Bus: 1}: "fast"} }, want: `profile "fast" governs this PF`},
		"it was unplugged":              {change: func(tr *sysfstest.Tree) { tr.Remove(pci.Address{Bus: 1}) }, want: "vanished"},
		"a pod has a link on it by now": {late: func(f *custody.Facts) { f.Sandboxes = []ledger.Sandbox{linkOn("free0")} }, want: "has a link on its netdev free0"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := sysfstest.New(t)
			tree.LoadDriver("mlx5_core")
			tree.AddPF(mlx(1, "free0"))
			b := newBenchOn(t, tree)
			s, err := inventory.New(inventory.Options{FS: tree.FS()}).Refresh(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if tt.change != nil {
				tt.change(tree)
			}
			b.desk.setLate(tt.late)
			resp, err := b.allocateFrom(s, rdma, []string{"0000:01:00.0"})
			got := strings.Join(lines(resp), "\n")
			if err != nil {
				got = err.Error()
			}
			if err == nil && got != tt.want || err != nil && !strings.Contains(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func linkOn(netdev string) ledger.Sandbox {
	return ledger.Sandbox{ID: "s1", Pod: ledger.PodRef{Namespace: "ns", Name: "p"}, Attachments: []ledger.Attachment{{
		IfName: "net1", Phase: ledger.Bound, Members: []ledger.Member{{Plugin: "macvlan", Child: &ledger.ChildMember{Uplink: netdev}}}}}}
}
