package deviceplugin

import (
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

var pfAddr = pci.MustParseAddress("0000:3b:00.0")

func vfAddr(i int) pci.Address { return sysfstest.VFAddress(pfAddr, 128, 2, i) }

// igb is a PF with n VFs, as a tree and a snapshot hold it.
func igb(n int) device.PF {
	pf := device.PF{
		Address: pfAddr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: "ens1f0", LinkType: "ether",
		NUMANode: 1, IOMMUGroup: 7, TotalVFs: 7, NumVFs: n,
	}
	for i := range n {
		pf.VFs = append(pf.VFs, device.VF{
			Address: vfAddr(i), PF: pfAddr, Index: i, Vendor: "8086", Device: "10ca", Driver: "igbvf",
			Netdev: fmt.Sprintf("ens1f0v%d", i), LinkType: "ether", NUMANode: 1, IOMMUGroup: 10 + i,
		})
	}
	return pf
}

// pool selects VFs first to last of every PF.
func pool(resource string, first, last int) device.Pool {
	return device.Pool{
		Resource: resource, Source: "test " + resource,
		Selectors: []device.Selector{{NIC: &device.NICSelector{}, VFs: []device.IndexRange{{First: first, Last: last}}}},
	}
}

// withRDMA is the pool with RDMA asked for.
func withRDMA(p device.Pool) device.Pool {
	p.RDMA, p.Selectors[0].RDMA = true, true
	return p
}

// unsafeDMA is the pool with VFIO accepted without an IOMMU.
func unsafeDMA(p device.Pool) device.Pool {
	p.Selectors[0].UnsafeDMA = true
	return p
}

// text is an assignment as a human would note it.
func text(a Assignment) string {
	var b strings.Builder
	for _, p := range a.Pools {
		fmt.Fprintf(&b, "%s", p.Resource)
		if p.Idle {
			b.WriteString(" idle")
		}
		for _, d := range p.Devices {
			fmt.Fprintf(&b, " %d", d.VF.Index)
			if !d.Healthy() {
				fmt.Fprintf(&b, "(%s)", d.Reason)
			}
		}
		b.WriteString("\n")
	}
	for _, problem := range a.Problems {
		fmt.Fprintf(&b, "! %s\n", problem)
	}
	return b.String()
}

func TestAssign(t *testing.T) {
	idle := func(p device.Pool) device.Pool { p.Idle = true; return p }
	driver := func(p device.Pool, name string) device.Pool { p.Selectors[0].Driver = name; return p }
	typed := func(p device.Pool, typ device.Type) device.Pool { p.Type = typ; return p }
	lone := device.VF{Address: pci.MustParseAddress("0000:00:04.0"), Driver: "igbvf", Netdev: "eth1", Index: 0}
	tests := map[string]struct {
		change    func(vfs []device.VF)
		lone      []device.VF
		pools     []device.Pool
		allocated []ledger.Allocation
		want      string
	}{
		"by range": {
			pools: []device.Pool{pool("f/slow", 2, 3), pool("f/fast", 0, 1)},
			want:  "f/fast 0 1\nf/slow 2 3\n",
		},
		"first that matches claims": {
			pools: []device.Pool{pool("f/fast", 0, 2), pool("f/slow", 2, 3)},
			want: "f/fast 0 1 2\nf/slow 3\n" +
				"! 1 VFs (0000:3b:10.4) are selected by f/fast (test f/fast) and by f/slow (test f/slow); the first has them\n",
		},
		"overlap of many": {
			pools: []device.Pool{pool("f/fast", 0, 3), pool("f/slow", 0, 6)},
			want: "f/fast 0 1 2 3\nf/slow\n" +
				"! 4 VFs (0000:3b:10.0 to 0000:3b:10.6) are selected by f/fast (test f/fast) and by f/slow (test f/slow); the first has them\n",
		},
		"declared twice": {
			pools: []device.Pool{pool("f/fast", 0, 0), pool("f/fast", 0, 1)},
			want:  "f/fast 0 1\n",
		},
		"idle VFs are held back": {
			pools: []device.Pool{idle(pool("f/fast", 2, 3)), pool("f/fast", 0, 1)},
			want:  "f/fast 0 1\nf/fast idle 2 3\n",
		},
		"no VFs": {
			pools: []device.Pool{pool("f/none", 7, 9)},
			want:  "f/none\n",
		},
		"no pools": {want: ""},
		"netdev in a pod": {
			change: func(vfs []device.VF) { vfs[1].Netdev, vfs[1].LinkType, vfs[1].MAC = "", "", "" },
			pools:  []device.Pool{pool("f/fast", 0, 1)},

			allocated: []ledger.Allocation{{Resource: "f/fast", Device: vfAddr(1)}},
			want:      "f/fast 0 1\n",
		},
		"no driver": {
			change: func(vfs []device.VF) { vfs[0].Driver = "" },
			pools:  []device.Pool{pool("f/fast", 0, 1)},
			want:   "f/fast 0(no driver is bound to it) 1\n",
		},
		"another driver than the profile's": {
			change: func(vfs []device.VF) { vfs[0].Driver, vfs[0].VFIOGroup = "vfio-pci", "10" },
			pools:  []device.Pool{driver(pool("f/dpdk", 0, 1), "vfio-pci")},
			want:   "f/dpdk 0 1(it is bound to igbvf, and the profile asks for vfio-pci)\n",
		},
		"a userspace driver where the kernel's is declared": {
			change: func(vfs []device.VF) { vfs[0].Driver, vfs[0].VFIOGroup = "vfio-pci", "10" },
			pools:  []device.Pool{driver(pool("f/fast", 0, 1), device.KernelDriver)},
			want:   "f/fast 0(it is bound to vfio-pci, and the profile asks for the kernel's own driver) 1\n",
		},
		"two drivers in one pool": {
			change: func(vfs []device.VF) { vfs[2].Driver, vfs[2].VFIOGroup = "vfio-pci", "12" },
			pools: []device.Pool{{Resource: "f/both", Selectors: []device.Selector{
				driver(pool("", 0, 1), device.KernelDriver).Selectors[0], driver(pool("", 2, 3), "vfio-pci").Selectors[0],
			}}},
			want: "f/both 0 1 2 3(it is bound to igbvf, and the profile asks for vfio-pci)\n",
		},
		"RDMA": {
			change: func(vfs []device.VF) { vfs[0].RDMADevices, vfs[0].Verbs = []string{"mlx5_2"}, []string{"uverbs2"} },
			pools:  []device.Pool{withRDMA(pool("f/rdma", 0, 2)), pool("f/plain", 0, 2)},
			want: "f/plain 1 2\nf/rdma 0\n" +
				"! 1 VFs (0000:3b:10.0) are selected by f/rdma (test f/rdma) and by f/plain (test f/plain); the first has them\n",
		},
		"in pods, with the RDMA device of the one that has such": {
			change: func(vfs []device.VF) {
				vfs[0].Netdev, vfs[1].Netdev = "", ""
				vfs[2].RDMADevices, vfs[2].Verbs = []string{"mlx5_2"}, []string{"uverbs2"}
			},
			pools:     []device.Pool{withRDMA(pool("f/rdma", 0, 2)), pool("f/plain", 0, 1)},
			allocated: []ledger.Allocation{{Resource: "f/rdma", Device: vfAddr(0)}, {Resource: "f/plain", Device: vfAddr(1)}},
			want: "f/plain 1\nf/rdma 0 2\n" +
				"! 1 VFs (0000:3b:10.0) are selected by f/rdma (test f/rdma) and by f/plain (test f/plain); the first has them\n",
		},
		"VF in a virtual machine (dp#251)": {
			lone: []device.VF{lone},
			pools: []device.Pool{pool("f/fast", 0, 0), {
				Resource: "f/vm", Selectors: []device.Selector{{PCIAddresses: device.Addresses{pci.MustParseAddress("0000:00:04.0"): true}}},
			}},
			want: "f/fast 0\nf/vm 0\n",
		},
		"other types, and fields that nothing tells": {
			pools: []device.Pool{
				typed(pool("f/acc", 0, 0), device.Accelerator),
				{Resource: "f/ddp", Source: "config.json", Selectors: []device.Selector{{DDPProfiles: []string{"gtp"}}}},
			},
			want: "f/ddp\n" +
				"! f/acc (test f/acc): its type accelerator is not supported, only netDevice is\n" +
				"! f/ddp (config.json): a selector selects nothing, since ddpProfiles is not supported\n",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pf := igb(4)
			if tt.change != nil {
				tt.change(pf.VFs)
			}
			snapshot := inventory.NewSnapshot([]device.PF{pf}, tt.lone)
			a := Assign(snapshot, tt.pools, custody.NewView(custody.Facts{Devices: snapshot, Allocations: tt.allocated}))
			if diff := cmp.Diff(tt.want, text(a)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, p := range a.Pools {
				for _, d := range p.Devices {
					if len(d.PF.VFs) != 0 || d.Config == nil {
						t.Errorf("device %s: PF with %d VFs, config %v", d.VF.Address, len(d.PF.VFs), d.Config)
					}
				}
			}
		})
	}
}

func TestSourcesOfOnePoolAreNamedOnce(t *testing.T) {
	a, b := pool("f/fast", 0, 0), pool("f/fast", 1, 1)
	b.Source = "config.json"
	got := Assign(inventory.NewSnapshot(nil, nil), []device.Pool{a, b, a}, custody.NewView(custody.Facts{})).Pools
	if len(got) != 1 || got[0].Source != "test f/fast, config.json" || got[0].Type != device.NetDevice {
		t.Errorf("pools %+v, want one with both sources", got)
	}
}

// devices C3: the path of a socket fits into an address, whatever the kubelet's directory.
func TestEndpointNames(t *testing.T) {
	const usual, snap = "/var/lib/kubelet/device-plugins", "/var/snap/microk8s/common/var/lib/kubelet/device-plugins"
	long := strings.Repeat("a", 60)
	for resource, want := range map[string]string{
		"fairlead.dev/fast":  "fairlead_fairlead.dev_fast.sock",
		"intel.com/dpdk_1-x": "fairlead_intel.com_dpdk_1-x.sock",
	} {
		for _, dir := range []string{usual, snap} {
			if got := endpointName(dir, resource); got != want {
				t.Errorf("endpointName(%s) = %s, want %s", resource, got, want)
			}
		}
	}
	for _, dir := range []string{usual, snap, "/" + strings.Repeat("k", 63)} {
		for n := 1; n <= len(long); n++ {
			one, two := endpointName(dir, "x.y/"+long[:n]+"1"), endpointName(dir, "x.y/"+long[:n]+"2")
			if one == two || len(one) != len(two) || len(dir+"/"+one) > 107 {
				t.Errorf("names %s and %s in %s: want them short and different", one, two, dir)
			}
		}
	}
}

// devices C3: a directory that is too long even for a cut name is an error with the remedy.
func TestEndpointInATooLongDirectory(t *testing.T) {
	opts := Options{Dir: "/" + strings.Repeat("k", 90)}
	_, err := newServer("f/fast", &opts, newSuspects()).listen()
	if err == nil || !strings.Contains(err.Error(), "the kernel takes 107: give the kubelet a shorter --root-dir") {
		t.Errorf("got %v", err)
	}
}

func TestEnvName(t *testing.T) {
	for resource, want := range map[string]string{
		"fairlead.dev/fast":       "PCIDEVICE_FAIRLEAD_DEV_FAST",
		"intel.com/sriov_dpdk-10": "PCIDEVICE_INTEL_COM_SRIOV_DPDK_10",
		"Ünicode/x":               "PCIDEVICE__NICODE_X",
	} {
		if got := EnvName(resource); got != want {
			t.Errorf("EnvName(%s) = %s, want %s", resource, got, want)
		}
	}
}
