package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

func TestParseDevicePluginConfig(t *testing.T) {
	const text = `{"resourceList": [
	  {"resourceName": "intel_sriov", "resourcePrefix": "intel.com", "selectors": {
	    "vendors": ["8086"], "devices": ["154C", "10ed"], "drivers": ["i40evf", "iavf"],
	    "pfNames": ["ens1f0#0-3,5", "ens1f0#7", "ens1f1"], "rootDevices": ["3b:00.0#1"], "linkTypes": ["ether"]}},
	  {"resourceName": "dpdk", "excludeTopology": true,
	   "additionalInfo": {"*": {"token": "abc"}, "3b:02.1": {"k": "v"}},
	   "selectors": [{"drivers": ["vfio-pci"], "needVhostNet": true}, {"pciAddresses": ["0000:3B:02.1"], "isRdma": true}]},
	  {"resourceName": "acc", "deviceType": "accelerator", "selectors": {"vendors": ["8086"], "acpiIndexes": ["101"]}},
	  {"resourceName": "sf", "deviceType": "auxNetDevice", "selectors": {"auxTypes": ["sf"]}},
	  {"resourceName": "other", "selectors": {"ddpProfiles": ["GTPv1"], "pKeys": ["0x1"], "vdpaType": "vhost"}}
	]}`
	got, err := ParseDevicePluginConfig([]byte(text), "cm", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []device.Pool{
		{
			Resource: "intel.com/intel_sriov", Type: device.NetDevice, Source: `cm: resourceList[0] ("intel_sriov")`,
			Selectors: []device.Selector{{
				Vendors: []string{"8086"}, Devices: []string{"154c", "10ed"}, Drivers: []string{"i40evf", "iavf"},
				// Several entries for one PF add up.
				PFNames: []device.PFRange{
					{Name: "ens1f0", VFs: []device.IndexRange{{First: 0, Last: 3}, {First: 5, Last: 5}}},
					{Name: "ens1f0", VFs: []device.IndexRange{{First: 7, Last: 7}}},
					{Name: "ens1f1"},
				},
				RootDevices: []device.RootRange{{PF: pci.MustParseAddress("0000:3b:00.0"), VFs: []device.IndexRange{{First: 1, Last: 1}}}},
				LinkTypes:   []string{"ether"},
			}},
		},
		{
			Resource: "dpdk", Type: device.NetDevice, ExcludeTopology: true, NeedVhostNet: true, RDMA: true,
			Source:         `cm: resourceList[1] ("dpdk")`,
			AdditionalInfo: map[string]map[string]string{"*": {"token": "abc"}, "0000:3b:02.1": {"k": "v"}},
			Selectors:      []device.Selector{{Drivers: []string{"vfio-pci"}}, {PCIAddresses: device.Addresses{pci.MustParseAddress("0000:3b:02.1"): true}, RDMA: true}},
		},
		{
			Resource: "acc", Type: device.Accelerator, Source: `cm: resourceList[2] ("acc")`,
			Selectors: []device.Selector{{Vendors: []string{"8086"}, ACPIIndexes: []string{"101"}}},
		},
		{
			Resource: "sf", Type: device.AuxNet, Source: `cm: resourceList[3] ("sf")`,
			Selectors: []device.Selector{{AuxTypes: []string{"sf"}}},
		},
		{
			Resource: "other", Type: device.NetDevice, Source: `cm: resourceList[4] ("other")`,
			Selectors: []device.Selector{{DDPProfiles: []string{"GTPv1"}, PKeys: []string{"0x1"}, VDPAType: "vhost"}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if got, err := ParseDevicePluginConfig([]byte(`{"resourceList": []}`), "cm", ""); err != nil || len(got) != 0 {
		t.Errorf("an empty list: got %v, %v", got, err)
	}
}

// dp#258, dp#490: a bad entry is an error that names it, not a pool that vanishes.
func TestParseDevicePluginConfigErrors(t *testing.T) {
	const at = `cm: resourceList[0] ("a"): `
	entry := func(s string) string { return `{"resourceList": [{"resourceName": "a", ` + s + `}]}` }
	tests := []struct {
		name, json, want string
	}{
		{"not JSON", `{`, `cm: line 1, column 1: unexpected end of JSON input`},
		{"comma behind the last entry (devices A6)", "{\n  \"resourceList\": [\n    {},\n  ]\n}", `cm: line 4, column 3: invalid character ']' looking for beginning of value`},
		{"no list, but text", `{"resourceList": "a"}`, `cm: resourceList: something else instead of a list`},
		{"no list", `{}`, `cm: resourceList is missing: it lists the resources to advertise, and may be empty`},
		{"unknown at the top", `{"resourceList": [], "resources": []}`, `cm: unknown field "resources"`},
		{"unknown in the entry", entry(`"selector": {}`), at + `unknown field "selector"`},
		{"two unknown", entry(`"b": 1, "c": 1, "selectors": {"isRdma": true}`), at + "unknown field \"b\"\n" + at + `unknown field "c"`},
		{"a key in two spellings", entry(`"selectors": {"isRdma": true, "IsRdma": false}`), at + `selectors: duplicate field "isRdma"`},
		{"wrong type", entry(`"selectors": {"vendors": "8086"}`), at + `selectors: vendors: a string instead of a list`},
		{"entry is text", `{"resourceList": ["a"]}`, `cm: resourceList[0]: a string instead of an object`},
		{"no name", `{"resourceList": [{"selectors": {"isRdma": true}}]}`, `cm: resourceList[0]: resourceName: is missing`},
		{"name", `{"resourceList": [{"resourceName": "a b", "selectors": {"isRdma": true}}]}`, `cm: resourceList[0] ("a b"): resourceName: "a b" is not a resource name: it may contain letters, digits, '_', '.' and '-'`},
		{"name with prefix", `{"resourceList": [{"resourceName": "x.y/a", "selectors": {"isRdma": true}}]}`, `cm: resourceList[0] ("x.y/a"): resourceName: "x.y/a" holds a '/': the part before it goes into resourcePrefix`},
		{"prefix", entry(`"resourcePrefix": "Intel", "selectors": {"isRdma": true}`), at + `resourcePrefix: "Intel" is not a resource prefix: it is a DNS name in lower case, such as example.com`},
		{"type", entry(`"deviceType": "nic", "selectors": {"isRdma": true}`), at + "deviceType: \"nic\" is not one of netDevice, accelerator, auxNetDevice\n" + at + `selectors.isRdma: has no meaning for deviceType nic`},
		{"no selectors", entry(`"excludeTopology": true`), at + `selectors: are missing: they say which devices are in the pool`},
		{"selectors are text", entry(`"selectors": "all"`), at + `selectors: are neither an object nor a list of objects`},
		{"empty list", entry(`"selectors": []`), at + `selectors: are an empty list: they say which devices are in the pool`},
		{"empty selector", entry(`"selectors": {}`), at + `selectors: have no fields, and would put every VF of the node into the pool: set at least one field`},
		{"vhost alone", entry(`"selectors": {"needVhostNet": true}`), at + `selectors: needVhostNet does not select devices: set another field as well`},
		{"second selector", entry(`"selectors": [{"isRdma": true}, {"pfName": ["a"]}]`), at + `selectors[1]: unknown field "pfName"`},
		{"vendor", entry(`"selectors": {"vendors": ["0x8086"]}`), at + `selectors.vendors: "0x8086" is not a PCI id of four hex digits, such as "8086"`},
		{"address", entry(`"selectors": {"pciAddresses": ["3b:02"]}`), at + `selectors.pciAddresses: "3b:02" is not a PCI address of the form 0000:3b:02.1`},
		{"range", entry(`"selectors": {"pfNames": ["ens1f0#3-1"]}`), at + `selectors.pfNames: "ens1f0#3-1": VF indexes "3-1": "3-1" ends before it begins`},
		{"root device", entry(`"selectors": {"rootDevices": ["ens1f0#1"]}`), at + `selectors.rootDevices: "ens1f0" is not a PCI address of the form 0000:3b:02.1`},
		{"link type", entry(`"selectors": {"linkTypes": ["ib"]}`), at + `selectors.linkTypes: "ib" is not one of ether, infiniband`},
		{"vdpa", entry(`"selectors": {"vdpaType": "virtio-net"}`), at + `selectors.vdpaType: "virtio-net" is not one of vhost, virtio`},
		{"misplaced", entry(`"deviceType": "accelerator", "selectors": {"pfNames": ["a"]}`), at + `selectors.pfNames: has no meaning for deviceType accelerator`},
		{"additionalInfo", entry(`"additionalInfo": {"all": {}}, "selectors": {"isRdma": true}`), at + `additionalInfo: "all" is not a PCI address of the form 0000:3b:02.1, nor "*" for every device`},
		{
			"twice", `{"resourceList": [{"resourceName": "a", "selectors": {"isRdma": true}}, {"resourceName": "a", "selectors": {"isRdma": true}}]}`,
			`cm: resourceList[1] ("a"): the resource is declared by cm: resourceList[0] ("a") as well: give one of them another name, or make their selectors one list`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseDevicePluginConfig([]byte(tt.json), "cm", "")
			if err == nil {
				t.Fatalf("no error, got %+v", got)
			}
			if d := cmp.Diff(tt.want, err.Error()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if got != nil {
				t.Errorf("a result came with the error: %+v", got)
			}
		})
	}
}
