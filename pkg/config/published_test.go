package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// devices A6, reports 6 and 7: configurations as SR-IOV operators, scripts and guides of
// today write them, with neutral names.
func TestPublishedDevicePluginConfigs(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"an operator of today", `{"resourceList":[{"resourceName":"nics","selectors":{"vendors":["15b3"],"rootDevices":["0000:3b:00.0"],"pfNames":["ens1f0#0-3"],"IsRdma":false,"NeedVhostNet":false},"SelectorObjs":null}]}`,
			"intel.com/nics vendors=[15b3] pfs=[ens1f0]"},
		{"an operator of 2021", `{"resourceList":[{"resourceName":"mlx","selectors":{"vendors":["15b3"],"devices":["1018"],"IsRdma":true},"SelectorObj":null}]}`,
			"intel.com/mlx vendors=[15b3] devices=[1018] rdma"},
		{"a node without policies", `{"resourceList":null}`, ""},
		{"an empty list", `{"resourceList":[]}`, ""},
		{"null lists", `{"resourceList":[{"resourceName":"a","additionalInfo":null,"selectors":{"vendors":["8086"],"drivers":null,"pfNames":null,"ddpProfiles":null}}]}`,
			"intel.com/a vendors=[8086]"},
		{"written by hand", `{"ResourceList":[{"resourcename":"a","DeviceType":"netDevice","selectors":{"pciaddresses":["0000:3b:02.1"],"isRDMA":true,"needVhostnet":true}}]}`,
			"intel.com/a addresses=1 rdma vhost"},
		{"the guide's", `{"resourceList":[{"resourceName":"a","resourcePrefix":"vendor.example","excludeTopology":false,"SelectorObj":[],"selectors":[{"vendors":["8086"],"IsRdma":false,"NeedVhostNet":true}]}]}`,
			"vendor.example/a vendors=[8086] vhost"},
		{"no prefix, and the same prefix elsewhere", `{"resourceList":[{"resourceName":"intel_sriov_netdevice","selectors":{"vendors":["8086"]}},{"resourceName":"b","resourcePrefix":"intel.com","selectors":{"vendors":["8086"]}}]}`,
			"intel.com/intel_sriov_netdevice vendors=[8086]\nintel.com/b vendors=[8086]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pools, err := ParseDevicePluginConfig([]byte(tt.text), "cm", "intel.com")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range pools {
				got = append(got, poolText(p))
			}
			if d := cmp.Diff(tt.want, strings.Join(got, "\n")); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func poolText(p device.Pool) string {
	text := p.Resource
	for _, s := range p.Selectors {
		for _, list := range []struct {
			name   string
			values []string
		}{{"vendors", s.Vendors}, {"devices", s.Devices}, {"drivers", s.Drivers}} {
			if len(list.values) > 0 {
				text += fmt.Sprintf(" %s=%v", list.name, list.values)
			}
		}
		for _, pf := range s.PFNames {
			text += fmt.Sprintf(" pfs=[%s]", pf.Name)
		}
		if len(s.PCIAddresses) > 0 {
			text += fmt.Sprintf(" addresses=%d", len(s.PCIAddresses))
		}
	}
	if p.RDMA {
		text += " rdma"
	}
	if p.NeedVhostNet {
		text += " vhost"
	}
	return text
}

// devices A6: of a policy without nicSelector fields the operator makes selectors that
// select everything. The text says so; other keys stay errors.
func TestPublishedConfigsThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{"resourceList":[{"resourceName":"a","selectors":{"IsRdma":false,"NeedVhostNet":false},"SelectorObjs":null}]}`:                                               "would put every VF of the node into the pool",
		`{"resourceList":[{"resourceName":"a","selectors":{"IsRdma":true},"Selector":{}}]}`:                                                                           `unknown field "Selector"`,
		`{"resourceList":[{"resourceName":"a","selectors":{"vendor":["8086"]}}]}`:                                                                                     `unknown field "vendor"`,
		`{"resourceList":[{"resourceName":"a","selectors":{"vendors":["8086"]}},{"resourceName":"a","resourcePrefix":"intel.com","selectors":{"vendors":["15b3"]}}]}`: "the resource is declared by",
	} {
		if _, err := ParseDevicePluginConfig([]byte(text), "cm", "intel.com"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot %v, want %q", text, err, want)
		}
	}
}

// publishedNode has a NIC of each kind that published ConfigMaps select.
func publishedNode(t *testing.T) sysfs.FS {
	tree := sysfstest.New(t)
	tree.LoadDriver("mlx5_core", "ice", "iavf", "bnxt_en", "e1000e")
	pf := func(addr, vendor, id, driver, netdev string, vfID, vfDriver string, numVFs int, rdma ...string) {
		p := device.PF{Address: pci.MustParseAddress(addr), Vendor: vendor, Device: id, Driver: driver, Netdev: netdev, LinkType: "ether", NUMANode: 0, IOMMUGroup: -1, TotalVFs: 8, RDMADevices: rdma}
		for i := range numVFs {
			p.VFs = append(p.VFs, device.VF{Address: sysfstest.VFAddress(p.Address, 1, 1, i), Index: i, Vendor: vendor, Device: vfID, Driver: vfDriver,
				Netdev: fmt.Sprintf("%sv%d", netdev, i), LinkType: "ether", NUMANode: 0, IOMMUGroup: -1})
		}
		tree.AddPF(p)
	}
	pf("0000:10:00.0", "8086", "1592", "ice", "ens1f0", "1889", "iavf", 2)
	pf("0000:20:00.0", "15b3", "1017", "mlx5_core", "ens2f0", "1018", "mlx5_core", 2, "mlx5_0")
	pf("0000:30:00.0", "15b3", "1017", "mlx5_core", "ens3f0", "1018", "mlx5_core", 0, "mlx5_1")
	pf("0000:40:00.0", "14e4", "1750", "bnxt_en", "ens4f0", "1806", "bnxt_en", 0, "bnxt_re0")
	tree.AddNIC(device.PF{Address: pci.MustParseAddress("0000:50:00.0"), Vendor: "8086", Device: "10d3", Driver: "e1000e", Netdev: "eno1", LinkType: "ether", NUMANode: 0, IOMMUGroup: -1})
	return tree.FS()
}

// deviceList returns the devices that a pool has on a node: VFs, PFs without VFs, and NICs.
func deviceList(t *testing.T, fs sysfs.FS, pool device.Pool) string {
	t.Helper()
	functions, err := fs.Scan()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	add := func(pf device.PF, devices ...device.VF) {
		for _, d := range devices {
			if pool.Match(pf, d) {
				out = append(out, strings.TrimPrefix(d.Address.String(), "0000:"))
			}
		}
	}
	for _, addr := range functions.PFs {
		pf, err := fs.PF(addr)
		if err != nil {
			t.Fatal(err)
		}
		if pf.VFs, err = fs.VFs(addr); err != nil {
			t.Fatal(err)
		}
		if add(pf, pf.VFs...); len(pf.VFs) == 0 {
			add(pf, pf.Whole())
		}
	}
	for _, addr := range functions.NICs {
		nic, err := fs.NIC(addr)
		if err != nil {
			t.Fatal(err)
		}
		add(nic, nic.Whole())
	}
	return strings.Join(out, " ")
}

// reports 8, devices B5: the devices of published pools on one node, as the device plugin
// lists them: VFs; of a PF without VFs and of a NIC without SR-IOV the whole function.
func TestPublishedConfigsSelect(t *testing.T) {
	fs := publishedNode(t)
	for _, tt := range []struct{ name, entry, want string }{
		{"the quick start of NVIDIA's operator", `"resourceName":"hostdev","resourcePrefix":"nvidia.com","selectors":{"vendors":["15b3"],"isRdma":true}`, "30:00.0"},
		{"Broadcom, by the PF's id", `"resourceName":"bnxt","selectors":{"vendors":["14e4"],"devices":["1750"],"drivers":["bnxt_en"],"isRdma":true}`, "40:00.0"},
		{"Intel's VFs, by id", `"resourceName":"intel_sriov_netdevice","selectors":{"vendors":["8086"],"devices":["154c","10ed","1889"],"drivers":["i40evf","iavf","ixgbevf"]}`, "10:00.1 10:00.2"},
		{"a vendor only", `"resourceName":"all","selectors":{"vendors":["8086"]}`, "10:00.1 10:00.2 50:00.0"},
		{"Mellanox's VFs, by id", `"resourceName":"mlnx","selectors":{"vendors":["15b3"],"devices":["1018"],"drivers":["mlx5_core"]}`, "20:00.1 20:00.2"},
		{"a PF with VFs, by name", `"resourceName":"a","selectors":{"pfNames":["ens1f0"]}`, "10:00.1 10:00.2"},
		{"a range of a PF with VFs, and a whole PF", `"resourceName":"a","selectors":{"pfNames":["ens2f0#1","ens3f0"]}`, "20:00.2 30:00.0"},
		{"a range of a PF without VFs", `"resourceName":"a","selectors":{"pfNames":["ens3f0#0-3"]}`, ""},
		{"the address of a PF without VFs", `"resourceName":"a","selectors":{"pciAddresses":["0000:30:00.0"]}`, "30:00.0"},
		{"the address of a PF with VFs", `"resourceName":"a","selectors":{"pciAddresses":["0000:20:00.0"]}`, ""},
		{"root devices", `"resourceName":"a","selectors":{"rootDevices":["0000:20:00.0","0000:40:00.0"]}`, "20:00.1 20:00.2 40:00.0"},
		{"a NIC without SR-IOV by name", `"resourceName":"a","selectors":{"pfNames":["eno1"],"drivers":["e1000e"]}`, "50:00.0"},
		{"a link type", `"resourceName":"a","selectors":{"linkTypes":["infiniband"]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pools, err := ParseDevicePluginConfig([]byte(`{"resourceList":[{`+tt.entry+`}]}`), "cm", "intel.com")
			if err != nil {
				t.Fatal(err)
			}
			if got := deviceList(t, fs, pools[0]); got != tt.want {
				t.Errorf("devices %q, want %q", got, tt.want)
			}
		})
	}
}
