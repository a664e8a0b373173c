package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

const head = "apiVersion: fairlead.dev/v1alpha1\nkind: NICProfile\nmetadata: {name: fast}\n"

func addr(t *testing.T, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func ptr[T any](v T) *T { return &v }

// Every key of a ConfigMap is read as profiles, whatever its name: a skipped key would never be
// noticed.
func TestParseProfilesReadsEveryKey(t *testing.T) {
	const text = "apiVersion: fairlead.dev/v1alpha1\nkind: NICProfile\nmetadata: {name: %s}\nspec:\n  nics: {pfNames: [\"ens1f0\"]}\n  pf: {numVFs: 1}\n  vfGroups: [{resourceName: fast}]\n"
	got, err := ParseProfiles(map[string]string{"workers": fmt.Sprintf(text, "b"), "edge.yaml": fmt.Sprintf(text, "a")}, "configmap x")
	if err != nil || len(got) != 2 || got[0].Profile.Name != "a" || got[1].Profile.Name != "b" {
		t.Errorf("got %v, %v; want profiles a and b", got, err)
	}
}

func TestParseProfile(t *testing.T) {
	const file = `# two profiles of one file
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata:
  name: fast
spec:
  nodeSelector: {rack: a}
  priority: 10
  nics:
    vendors: ["8086"]
    devices: ["10C9"]
    pfNames: ["ens1f*"]
  pf: {numVFs: 7, mtu: 9000}
  vfGroups:
  - {vfs: 0-3, resourceName: fast, mtu: 9000, vlan: 100, vlanQoS: 3, trust: "on", spoofCheck: "off"}
  - {vfs: "4,6", resourceName: example.com/dpdk, driver: vfio-pci, excludeTopology: true, needVhostNet: true, rdma: true}
---
# nothing here
...
---
apiVersion: fairlead.dev/v1alpha1
kind: NICProfile
metadata: {name: found}
spec:
  nics: {linkTypes: [ether], numaNodes: [0, -1]}
  pf: {}
  vfGroups: [{resourceName: found, driver: kernel, idle: true}]
`
	got, err := ParseProfile([]byte(file), "a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	nics := device.NICSelector{Vendors: []string{"8086"}, Devices: []string{"10c9"}, PFNames: []string{"ens1f*"}}
	found := device.NICSelector{LinkTypes: []string{"ether"}, NUMANodes: []int{0, -1}}
	want := []Declaration{
		{
			Profile: Profile{
				Name: "fast", Priority: 10, NICs: nics, NumVFs: ptr(7), MTU: 9000, Source: "a.yaml",
				Groups: []VFGroup{
					{
						VFs: []device.IndexRange{{First: 0, Last: 3}}, Resource: "fast",
						Settings: device.Settings{
							Driver: "kernel", MTU: ptr(9000), VLAN: ptr(100), QoS: ptr(3), Trust: ptr(true), SpoofCheck: ptr(false),
						},
					},
					{VFs: []device.IndexRange{{First: 4, Last: 4}, {First: 6, Last: 6}}, Resource: "example.com/dpdk", Settings: device.Settings{Driver: "vfio-pci"}},
				},
			},
			NodeSelector: map[string]string{"rack": "a"},
			Pools: []device.Pool{
				{
					Resource: "fast", Type: device.NetDevice, Source: `profile "fast", group 0`,
					Selectors: []device.Selector{{NIC: &nics, VFs: []device.IndexRange{{First: 0, Last: 3}}, Driver: "kernel"}},
				},
				{
					Resource: "example.com/dpdk", Type: device.NetDevice, Source: `profile "fast", group 1`,
					Selectors: []device.Selector{{
						NIC: &nics, VFs: []device.IndexRange{{First: 4, Last: 4}, {First: 6, Last: 6}},
						Driver: "vfio-pci", RDMA: true,
					}},
					ExcludeTopology: true, NeedVhostNet: true, RDMA: true,
				},
			},
		},
		{
			Profile: Profile{Name: "found", NICs: found, Groups: []VFGroup{{Resource: "found", Settings: device.Settings{Driver: "kernel"}}}, Source: "a.yaml"},
			Pools: []device.Pool{{
				Resource: "found", Type: device.NetDevice, Idle: true, Source: `profile "found", group 0`,
				Selectors: []device.Selector{{NIC: &found, Driver: "kernel"}},
			}},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// A group sets every knob that device.Knobs lists for VF groups.
func TestEveryKnobOfAGroupIsRead(t *testing.T) {
	const spec = `spec: {vfGroups: [{driver: iavf, mtu: 1400, vlan: 5, vlanQoS: 2, vlanProto: 802.1ad, trust: "on", spoofCheck: "off",
  linkState: enable, minTxRateMbps: 10, maxTxRateMbps: 100}]}`
	got, err := ParseProfile([]byte(head+spec), "a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := device.Settings{
		Driver: "iavf", MTU: ptr(1400), VLAN: ptr(5), QoS: ptr(2), VLANProto: ptr("802.1ad"), Trust: ptr(true), SpoofCheck: ptr(false),
		LinkState: ptr("enable"), MinTxRate: ptr(10), MaxTxRate: ptr(100),
	}
	have := got[0].Groups[0].Settings
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	for _, k := range device.Knobs {
		if k.Has(have) != (k.Group != "") {
			t.Errorf("%s: field %q of a group, and a value: %t", k.Name, k.Group, k.Has(have))
		}
	}
}

// S9, meta-cni A3: a group can ask for VFs that are rebound after each pod.
func TestResetOnRelease(t *testing.T) {
	for value, want := range map[string]bool{"": false, "restore": false, "rebind": true} {
		got, err := ParseProfile([]byte(head+"spec: {vfGroups: [{resetOnRelease: \""+value+"\"}]}"), "a.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Groups[0].Rebind != want {
			t.Errorf("%q: Rebind is %v, want %v", value, !want, want)
		}
	}
}

// dp#258, dp#490, op#306: errors name the field, the fault and the remedy.
func TestParseProfileErrors(t *testing.T) {
	const at = `a.yaml: document 1 (line 1): profile "fast": `
	tests := []struct {
		name, yaml, want string
	}{
		{"not yaml", "a: [", `a.yaml: line 1: did not find expected node content`},
		{"repeated field", head + "kind: NICProfile\n", `a.yaml: line 4: key "kind" already set in map`},
		{"another kind", "apiVersion: v1\nkind: Pod\n", `a.yaml: document 1 (line 1): unknown field "x"`},
		{"kind", "apiVersion: v1\nkind: Pod\n", `a.yaml: document 1 (line 1): apiVersion "v1", kind "Pod": only NICProfile of fairlead.dev/v1alpha1 is supported`},
		{"no name", "apiVersion: fairlead.dev/v1alpha1\nkind: NICProfile\n", `a.yaml: document 1 (line 1): metadata.name: a profile needs a name`},
		{"bad name", strings.Replace(head, "fast", "Fast_1", 1), `a.yaml: document 1 (line 1): profile "Fast_1": metadata.name: "Fast_1" is not a name: lower-case letters, digits, '-' and '.', at most 253 characters`},
		{"unknown fields", head + "spec: {pf: {numVfs: 4}, vfGroups: [{vlans: 3}]}", "a.yaml: document 1 (line 1): unknown field \"spec.pf.numVfs\"\na.yaml: document 1 (line 1): unknown field \"spec.vfGroups[0].vlans\""},
		{"second document", head + "spec: {pf: {}}\n---\n" + head + "spec: {x: 1}\n", `a.yaml: document 2 (line 5): unknown field "spec.x"`},
		{"wrong type", head + "spec: {pf: {numVFs: many}}", `a.yaml: document 1 (line 1): spec.pf.numVFs: a string instead of a number`},
		{"bare on", head + "spec: {vfGroups: [{trust: on}]}", `a.yaml: document 1 (line 1): spec.vfGroups.trust: a boolean instead of a string (a bare on, off, yes or no is a boolean in YAML: put it in quotes)`},
		{"numVFs", head + "spec: {pf: {numVFs: -1}}", at + `spec.pf.numVFs: -1 is out of range: 0 to 65535, or unset`},
		{"PF MTU", head + "spec: {pf: {mtu: 67}}", at + `spec.pf.mtu: 67 is out of range: 68 to 65535 bytes, or unset`},
		{"vendor", head + "spec: {nics: {vendors: [intel]}}", at + `spec.nics.vendors: "intel" is not a PCI id of four hex digits, such as "8086"`},
		{"device", head + "spec: {nics: {devices: ['0x10c9']}}", at + `spec.nics.devices: "0x10c9" is not a PCI id of four hex digits, such as "8086"`},
		{"NIC driver", head + "spec: {nics: {drivers: ['a/b']}}", at + `spec.nics.drivers: "a/b" is not the name of a kernel driver`},
		{"glob", head + "spec: {nics: {pfNames: ['ens[1']}}", at + `spec.nics.pfNames: "ens[1" is not a glob: a '[' has no ']'`},
		{"empty name", head + "spec: {nics: {pfNames: ['']}}", at + `spec.nics.pfNames: contains an empty string, which would match nothing`},
		{"link type", head + "spec: {nics: {linkTypes: [eth]}}", at + `spec.nics.linkTypes: "eth" is not one of ether, infiniband`},
		{"NUMA node", head + "spec: {nics: {numaNodes: [-2]}}", at + `spec.nics.numaNodes: -2 is not a NUMA node: 0 and above, or -1 for a NIC that belongs to none`},
		{"indexes", head + "spec: {vfGroups: [{vfs: 3-1}]}", at + `spec.vfGroups[0].vfs: VF indexes "3-1": "3-1" ends before it begins`},
		{"beyond", head + "spec: {pf: {numVFs: 4}, vfGroups: [{vfs: 2-4}]}", at + `spec.vfGroups[0].vfs: VF 4 is beyond spec.pf.numVFs: 4, which allows 0 to 3`},
		{"beyond none", head + "spec: {pf: {numVFs: 0}, vfGroups: [{vfs: '0'}]}", at + `spec.vfGroups[0].vfs: VF 0 is beyond spec.pf.numVFs: 0, which allows none`},
		{"twice", head + "spec: {vfGroups: [{vfs: '1-3,2'}]}", at + `spec.vfGroups[0].vfs: VF 2 is named twice`},
		{"overlap", head + "spec: {vfGroups: [{vfs: 0-3}, {vfs: 3-4}]}", at + `spec.vfGroups[1].vfs: VF 3 is in vfGroups[0] as well: each VF is in one group`},
		{"overlap with all", head + "spec: {vfGroups: [{}, {vfs: 3-4}]}", at + `spec.vfGroups[1].vfs: VF 3 is in vfGroups[0] as well: each VF is in one group`},
		{"resource", head + "spec: {vfGroups: [{resourceName: 'a b'}]}", at + `spec.vfGroups[0].resourceName: "a b" is not a resource name: it may contain letters, digits, '_', '.' and '-'`},
		{"resource end", head + "spec: {vfGroups: [{resourceName: a_}]}", at + `spec.vfGroups[0].resourceName: "a_" is not a resource name that the kubelet accepts: it must begin and end with a letter or digit and have at most 63 characters`},
		{"prefix", head + "spec: {vfGroups: [{resourceName: Example.com/a}]}", at + `spec.vfGroups[0].resourceName: "Example.com" is not a resource prefix: it is a DNS name in lower case, such as example.com`},
		{"Kubernetes' prefix", head + "spec: {vfGroups: [{resourceName: node.kubernetes.io/a}]}", at + `spec.vfGroups[0].resourceName: the prefix "node.kubernetes.io" belongs to Kubernetes, and its kubelet refuses it: use a prefix of your own`},
		{"quota prefix", head + "spec: {vfGroups: [{resourceName: requests.a/a}]}", at + `spec.vfGroups[0].resourceName: the prefix "requests.a" is refused by Kubernetes: quotas use names that begin with "requests."`},
		{"no resource", head + "spec: {vfGroups: [{idle: true}]}", at + `spec.vfGroups[0]: idle, rdma, needVhostNet and excludeTopology say how a resource is handed out: set resourceName`},
		{"driver", head + "spec: {vfGroups: [{driver: '../x'}]}", at + `spec.vfGroups[0].driver: "../x" is not the name of a kernel driver`},
		{"VF MTU", head + "spec: {vfGroups: [{mtu: 70000}]}", at + `spec.vfGroups[0].mtu: 70000 is out of range: 68 to 65535 bytes, or unset`},
		{"VF MTU above the PF's", head + "spec: {pf: {mtu: 1500}, vfGroups: [{mtu: 9000}]}", at + `spec.vfGroups[0].mtu: 9000 is above the PF's: raise spec.pf.mtu (1500) or lower this one`},
		{"VF MTU without netdev", head + "spec: {vfGroups: [{mtu: 9000, driver: vfio-pci}]}", at + `spec.vfGroups[0].mtu: a VF bound to vfio-pci has no netdev to set it on: the program that drives the VF chooses its MTU`},
		{"security: uio", head + "spec: {vfGroups: [{driver: igb_uio}]}", at + `spec.vfGroups[0].driver: with igb_uio, a pod can read and write all memory of the node: use vfio-pci with an IOMMU, or accept that with spec.vfGroups[0].allowUnsafeDMA: true`},
		{"security: consent to nothing", head + "spec: {vfGroups: [{allowUnsafeDMA: true}]}", at + `spec.vfGroups[0].allowUnsafeDMA: it is about userspace drivers, and driver kernel is none: remove it`},
		{"VLAN", head + "spec: {vfGroups: [{vlan: 4095}]}", at + `spec.vfGroups[0].vlan: 4095 is out of range: 1 to 4094, 0 for none, or unset`},
		{"QoS", head + "spec: {vfGroups: [{vlan: 5, vlanQoS: 8}]}", at + `spec.vfGroups[0].vlanQoS: 8 is out of range: 0 to 7`},
		{"reset", head + "spec: {vfGroups: [{resetOnRelease: flr}]}", at + `spec.vfGroups[0].resetOnRelease: "flr" is not one of restore, rebind`},
		{"QoS alone", head + "spec: {vfGroups: [{vlanQoS: 3}]}", at + `spec.vfGroups[0].vlanQoS: 3 needs a VLAN: set spec.vfGroups[0].vlan`},
		{"VLAN protocol", head + "spec: {vfGroups: [{vlan: 5, vlanProto: q-in-q}]}", at + `spec.vfGroups[0].vlanProto: "q-in-q" is not one of 802.1q, 802.1ad`},
		{"VLAN protocol alone", head + "spec: {vfGroups: [{vlanProto: 802.1ad}]}", at + `spec.vfGroups[0].vlanProto: 802.1ad needs a VLAN: set spec.vfGroups[0].vlan`},
		{"link state", head + "spec: {vfGroups: [{linkState: up}]}", at + `spec.vfGroups[0].linkState: "up" is not one of auto, enable, disable`},
		{"rate", head + "spec: {vfGroups: [{maxTxRateMbps: -1}]}", at + `spec.vfGroups[0].maxTxRateMbps: -1 is out of range: 1 to 10000000 Mbit/s, 0 for none, or unset`},
		{"rates", head + "spec: {vfGroups: [{minTxRateMbps: 200, maxTxRateMbps: 100}]}", at + `spec.vfGroups[0].minTxRateMbps: 200 is above maxTxRateMbps: 100`},
		{"trust", head + "spec: {vfGroups: [{trust: 'yes'}]}", at + `spec.vfGroups[0].trust: "yes" is neither "on" nor "off"`},
		{"spoofCheck", head + "spec: {vfGroups: [{spoofCheck: 'true'}]}", at + `spec.vfGroups[0].spoofCheck: "true" is neither "on" nor "off"`},
		{"all of it", head + "spec: {pf: {numVFs: -1}, vfGroups: [{vlan: -1}]}", at + "spec.pf.numVFs: -1 is out of range: 0 to 65535, or unset\n" + at + "spec.vfGroups[0].vlan: -1 is out of range: 1 to 4094, 0 for none, or unset"},
		{"an error in the second document (lab: two line numbers in one text)", head + "spec: {pf: {}}\n---\n" + head + "kind: NICProfile\n", `a.yaml: line 9: key "kind" already set in map`},
	}
	tests[2].yaml += "x: 1\n"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseProfile([]byte(tt.yaml), "a.yaml")
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

func TestReadProfiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.yaml", head)
	write("a.yml", strings.Replace(head, "fast", "first", 1))
	write("c.json", `{"apiVersion": "fairlead.dev/v1alpha1", "kind": "NICProfile", "metadata": {"name": "third"}}`)
	write("README.md", "not YAML: [")
	write(".b.yaml.swp", "not YAML: [")
	write(".hidden.yaml", "not YAML: [")
	load := func(dir string) ([]Declaration, error) {
		files, err := ReadProfiles(dir)
		if err != nil {
			return nil, err
		}
		return ParseProfiles(files, dir)
	}
	got, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range got {
		names = append(names, d.Name)
	}
	if d := cmp.Diff([]string{"first", "fast", "third"}, names); d != "" {
		t.Errorf("-want +got\n%s", d)
	}

	// An invalid edit of one file returns an error and nothing else: the caller keeps its
	// model.
	write("b.yaml", head+"spec: {nic: {}}")
	got, err = load(dir)
	want := dir + `/b.yaml: document 1 (line 1): unknown field "spec.nic"`
	if err == nil || err.Error() != want || got != nil {
		t.Errorf("got %v, %v; want no profiles and %s", got, err, want)
	}

	if got, err := load(filepath.Join(dir, "absent")); got != nil || err != nil {
		t.Errorf("an absent directory: got %v, %v", got, err)
	}
}

func TestShortNICAddressesAreMadeFull(t *testing.T) {
	got := fullAddresses([]string{"3b:00.0", "0000:3b:*", "00aa:3b:00.1"})
	if diff := cmp.Diff([]string{"0000:3b:00.0", "0000:3b:*", "00aa:3b:00.1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
