package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// render shows the parts that decide: order, names, and exclusions.
func render(m Model) string {
	var b strings.Builder
	for _, p := range m.Profiles {
		fmt.Fprintf(&b, "profile %s priority %d:", p.Name, p.Priority)
		for _, g := range p.Groups {
			fmt.Fprintf(&b, " %s", g.Resource)
		}
		b.WriteString("\n")
	}
	for _, p := range m.Pools {
		fmt.Fprintf(&b, "pool %s from %s:", p.Resource, p.Source)
		for _, s := range p.Selectors {
			switch {
			case s.NIC == nil:
				fmt.Fprintf(&b, " [drivers %v]", s.Drivers)
			default:
				fmt.Fprintf(&b, " [nics %v", s.NIC.PFNames)
				for _, n := range s.NotNICs {
					fmt.Fprintf(&b, " not %v", n.PFNames)
				}
				b.WriteString("]")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

const rackProfiles = `
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: zebra}
spec: {priority: 5, nics: {pfNames: ["ens*"]}, pf: {numVFs: 4}, vfGroups: [{resourceName: fast}]}
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: alpha}
spec: {priority: 5, nics: {pfNames: [eno1]}, pf: {numVFs: 4}, vfGroups: [{resourceName: fast, vfs: 0-1}, {resourceName: example.com/slow, vfs: 2-3}]}
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: top}
spec: {priority: 9, nics: {pfNames: [ens9]}, pf: {numVFs: 4}, vfGroups: [{resourceName: top}]}
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: elsewhere}
spec: {nodeSelector: {rack: b}, nics: {}, pf: {numVFs: 4}, vfGroups: [{resourceName: fast, rdma: true}]}
`

func TestBuild(t *testing.T) {
	declared, err := ParseProfile([]byte(rackProfiles), "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pools, err := ParseDevicePluginConfig([]byte(`{"resourceList": [
	  {"resourceName": "dpdk", "resourcePrefix": "intel.com", "selectors": {"drivers": ["vfio-pci"]}},
	  {"resourceName": "fast", "selectors": {"drivers": ["iavf"]}}]}`), "cm")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Build(declared, pools, map[string]string{"rack": "a"}, DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	const want = `profile top priority 9: fairlead.dev/top
profile alpha priority 5: fairlead.dev/fast example.com/slow
profile zebra priority 5: fairlead.dev/fast
pool intel.com/dpdk from cm: resourceList[0] ("dpdk"): [drivers [vfio-pci]]
pool fairlead.dev/fast from cm: resourceList[1] ("fast"); profile "alpha", group 0; profile "zebra", group 0: [drivers [iavf]] [nics [eno1] not [ens9]] [nics [ens*] not [ens9]]
pool fairlead.dev/top from profile "top", group 0: [nics [ens9]]
pool example.com/slow from profile "alpha", group 1: [nics [eno1] not [ens9]]
`
	if d := cmp.Diff(want, render(m)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	// Building changes none of the declarations: a second build gives the same.
	again, err := Build(declared, pools, map[string]string{"rack": "a"}, DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, again); d != "" {
		t.Errorf("the second build differs: -first +second\n%s", d)
	}
}

// A profile of a lower priority has no say over a PF that a higher one selects, and none over
// the pools of its VFs.
func TestBuildPriorityHoldsForPools(t *testing.T) {
	declared, err := ParseProfile([]byte(rackProfiles), "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Build(declared, nil, nil, DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	pf := device.PF{Address: addr(t, "0000:3b:00.0"), Netdev: "ens9"}
	vf := device.VF{Address: addr(t, "0000:3b:02.0"), PF: pf.Address}
	if i := device.Claim(m.Pools, pf, vf); i < 0 || m.Pools[i].Resource != "fairlead.dev/top" {
		t.Errorf("a VF of ens9 is in pool %d of %v", i, render(m))
	}
	pf.Netdev = "ens8"
	if i := device.Claim(m.Pools, pf, vf); i < 0 || m.Pools[i].Resource != "fairlead.dev/fast" {
		t.Errorf("a VF of ens8 is in pool %d of %v", i, render(m))
	}
}

// Devices B1: a second profile of the same priority does not move the VFs of a PF
// out of the pools of the profile that governs the PF.
func TestConflictKeepsThePools(t *testing.T) {
	const profiles = `
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: old}
spec: {nics: {vendors: ["8086"]}, pf: {numVFs: 4}, vfGroups: [{resourceName: fast}]}
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: new}
spec: {nics: {pfNames: ["ens*"]}, pf: {numVFs: 4}, vfGroups: [{resourceName: dpdk, driver: vfio-pci}]}
`
	declared, err := ParseProfile([]byte(profiles), "p.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pf := device.PF{Address: addr(t, "0000:3b:00.0"), Vendor: "8086", Netdev: "ens1"}
	vf := device.VF{Address: addr(t, "0000:3b:02.0"), PF: pf.Address, Driver: "iavf"}
	for name, tt := range map[string]struct {
		governed string
		vendor   string
		want     string
	}{
		"the old one governs the PF":                       {"old", "8086", "fairlead.dev/fast kernel"},
		"the new one does":                                 {"new", "8086", "fairlead.dev/dpdk vfio-pci"},
		"the old one did, and does not select it any more": {"old", "15b3", "fairlead.dev/dpdk vfio-pci"},
		"nobody did":                                       {"", "8086", "fairlead.dev/dpdk vfio-pci"}, // in the order of the names
	} {
		t.Run(name, func(t *testing.T) {
			m, err := BuildKeeping(map[pci.Address]string{pf.Address: tt.governed}, declared, nil, nil, DefaultPrefix)
			if err != nil {
				t.Fatal(err)
			}
			pf := pf
			pf.Vendor = tt.vendor
			i := device.Claim(m.Pools, pf, vf)
			if i < 0 {
				t.Fatalf("the VF is in no pool of %s", render(m))
			}
			if got := m.Pools[i].Resource + " " + m.Pools[i].Selector(pf, vf).Driver; got != tt.want {
				t.Errorf("the VF is in %s, want %s", got, tt.want)
			}
		})
	}
}

func TestBuildErrors(t *testing.T) {
	profiles := func(text string) []Declaration {
		d, err := ParseProfile([]byte(text), "p.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	tests := []struct {
		name     string
		declared []Declaration
		pools    []device.Pool
		prefix   string
		want     string
	}{
		{
			name: "one name twice", prefix: DefaultPrefix,
			declared: profiles(head + "---\n" + head + "spec: {nodeSelector: {rack: z}}"),
			want:     `p.yaml: profile "fast": declared in p.yaml as well: give one of them another name`,
		},
		{
			name: "parts of a pool disagree", prefix: DefaultPrefix,
			declared: profiles(head + "spec: {vfGroups: [{resourceName: a, vfs: '0'}, {resourceName: fairlead.dev/a, vfs: '1', idle: true}]}"),
			want:     `profile "fast", group 1: resource "fairlead.dev/a": profile "fast", group 0 has another idle: both make up one pool, so make them equal or give one another resourceName`,
		},
		{
			name: "ConfigMap and profile disagree", prefix: "x.org",
			declared: profiles(head + "spec: {vfGroups: [{resourceName: a, rdma: true}]}"),
			pools:    []device.Pool{{Resource: "a", Type: device.NetDevice, Source: "cm: resourceList[0]"}},
			want:     `profile "fast", group 0: resource "x.org/a": cm: resourceList[0] has another rdma: both make up one pool, so make them equal or give one another resourceName`,
		},
		{
			name: "default prefix", prefix: "Fair",
			want: `default resource prefix: "Fair" is not a resource prefix: it is a DNS name in lower case, such as example.com`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Build(tt.declared, tt.pools, nil, tt.prefix)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if d := cmp.Diff(Model{}, m); d != "" {
				t.Errorf("a model came with the error: %s", d)
			}
		})
	}
}
