package deviceplugin

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
)

func selecting(resource string, s device.Selector) device.Pool {
	return device.Pool{Resource: resource, Source: "config.json", Selectors: []device.Selector{s}}
}

// reports 8 and 10, devices B4: a selector that selects nothing says why.
func TestProblemsOfSelectors(t *testing.T) {
	lone := device.VF{Address: pci.MustParseAddress("0000:00:04.0"), Vendor: "8086", Device: "154c", Driver: "iavf", Netdev: "eth1"}
	byName := selecting("f/name", device.Selector{PFNames: []device.PFRange{{Name: "ens9"}, {Name: "ens8"}}})
	byNIC := selecting("f/nic", device.Selector{NIC: &device.NICSelector{PFNames: []string{"ens9*"}}})
	renamed, away := igb(1), igb(1)
	renamed.EarlierNames = []string{"ens9"}
	away.EarlierNames, away.Netdev = []string{"ens9"}, ""
	for name, tt := range map[string]struct {
		pfs   []device.PF
		lone  []device.VF
		pools []device.Pool
		want  string
	}{
		"reports 10: a VM's VFs are selected by ids and driver": {
			lone: []device.VF{lone}, pools: []device.Pool{selecting("f/vm", device.Selector{Vendors: []string{"8086"}, Devices: []string{"154c"}, Drivers: []string{"iavf"}})},
			want: "f/vm 0\n",
		},
		"reports 10: not by a PF, and the pool says so": {
			lone: []device.VF{lone}, pools: []device.Pool{
				selecting("f/vm", device.Selector{Vendors: []string{"8086"}, PFNames: []device.PFRange{{Name: "ens9"}}}), byNIC,
			},
			want: "f/nic\nf/vm\n" +
				"! f/nic (config.json): a selector selects nothing: nics names a PF, and a virtual machine has no PFs; select VFs by vendors, devices, drivers or pciAddresses\n" +
				"! f/vm (config.json): a selector selects nothing: pfNames names a PF, and a virtual machine has no PFs; select VFs by vendors, devices, drivers or pciAddresses\n",
		},
		"B4: no PF has the name": {
			pfs: []device.PF{igb(1)}, pools: []device.Pool{byName, byNIC},
			want: "f/name\nf/nic\n" +
				"! f/name (config.json): selects nothing: no PF is called ens8, ens9; the PFs here are ens1f0 (0000:3b:00.0)\n" +
				"! f/nic (config.json): selects nothing: no PF is called ens9*; the PFs here are ens1f0 (0000:3b:00.0)\n",
		},
		"B4: a PF had the name": {
			pfs: []device.PF{renamed}, pools: []device.Pool{byName},
			want: "f/name 0\n! f/name (config.json): PF 0000:3b:00.0 was selected as ens9 and is called ens1f0 now: its VFs stay in the pool until the configuration changes or the agent restarts; select it by its present name, an altname or its address\n",
		},
		"B4: a PF has lost its netdev": {
			pfs: []device.PF{away}, pools: []device.Pool{byNIC},
			want: "f/nic 0\n! f/nic (config.json): PF 0000:3b:00.0 was selected as ens9 and has no netdev now: its VFs stay in the pool until the configuration changes or the agent restarts; select it by its present name, an altname or its address\n",
		},
		// issue 6.6: a pool that selects nothing, with near misses.
		"near miss: the driver": {
			pfs: []device.PF{igb(2)}, pools: []device.Pool{selecting("f/dpdk", device.Selector{Vendors: []string{"8086"}, Devices: []string{"10ca"}, Drivers: []string{"vfio-pci"}})},
			want: "f/dpdk\n! f/dpdk (config.json): selects nothing: 2 VFs fit except for their driver, which is \"igbvf\": bind the driver that drivers names, or correct drivers\n",
		},
		"near miss: RDMA": {
			pfs: []device.PF{igb(2)}, pools: []device.Pool{selecting("f/rdma", device.Selector{Vendors: []string{"8086"}, RDMA: true})},
			want: "f/rdma\n! f/rdma (config.json): selects nothing: 2 VFs fit, and have no RDMA device: load the NIC's RDMA driver, or take RDMA out of the selector\n",
		},
		"no near miss: other NICs, VFs of another pool, a driver only": {
			pfs: []device.PF{igb(1)}, pools: []device.Pool{
				selecting("f/all", device.Selector{Vendors: []string{"8086"}}),
				selecting("f/mlx", device.Selector{Vendors: []string{"15b3"}, Drivers: []string{"vfio-pci"}}),
				selecting("f/taken", device.Selector{Vendors: []string{"8086"}, Drivers: []string{"vfio-pci"}}),
				selecting("f/wide", device.Selector{Drivers: []string{"vfio-pci"}}),
			}, want: "f/all 0\nf/mlx\nf/taken\nf/wide\n",
		},
		"B4: a rename that no selector minds": {
			pfs: []device.PF{renamed}, pools: []device.Pool{pool("f/all", 0, 0)}, want: "f/all 0\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := inventory.NewSnapshot(tt.pfs, tt.lone)
			if diff := cmp.Diff(tt.want, text(Assign(s, tt.pools, custody.NewView(custody.Facts{Devices: s})))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A VF comes with a snapshot that custody has not seen: nobody knows its users yet.
func TestNewVFsWaitForCustody(t *testing.T) {
	s := inventory.NewSnapshot([]device.PF{igb(2)}, nil)
	old := inventory.NewSnapshot([]device.PF{igb(1)}, nil)
	devices := Assign(s, []device.Pool{pool("f/fast", 0, 1)}, custody.NewView(custody.Facts{Devices: old})).Pools[0].Devices
	if !devices[0].Healthy() || !strings.Contains(devices[1].Reason, "its users are not known yet") {
		t.Errorf("devices %+v", devices)
	}
}
