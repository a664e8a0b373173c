package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
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
