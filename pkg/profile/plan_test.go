package profile

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

var pf0 = pci.MustParseAddress("0000:3b:00.0")

func ptr[T any](v T) *T { return &v }

// igb is a NIC of the lab with n VFs.
func igb(addr pci.Address, name string, n int) NIC {
	nic := NIC{PF: device.PF{
		Address: addr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: name, Ifindex: 2,
		LinkType: "ether", MTU: 1500, NUMANode: -1, IOMMUGroup: -1, TotalVFs: 7, NumVFs: n,
	}, Up: n > 0, Settings: map[int]device.Settings{}}
	for i := range n {
		nic.VFs = append(nic.VFs, device.VF{
			Address: sysfstest.VFAddress(addr, 128, 2, i), PF: addr, Index: i, Vendor: "8086", Device: "10ca",
			Driver: "igbvf", Netdev: name + "v" + string(rune('0'+i)), LinkType: "ether", MTU: 1500, NUMANode: -1, IOMMUGroup: 10 + i,
		})
		nic.Settings[i] = defaults()
	}
	return nic
}

// build turns the spec of profiles into the model's.
func build(t testing.TB, specs ...string) []config.Profile {
	t.Helper()
	var text strings.Builder
	for i, s := range specs {
		name := string(rune('a' + i))
		text.WriteString("---\napiVersion: fairlead.dev/v1alpha1\nkind: NICProfile\nmetadata: {name: " + name + "}\nspec: " + s + "\n")
	}
	declared, err := config.ParseProfile([]byte(text.String()), "test")
	if err != nil {
		t.Fatal(err)
	}
	m, err := config.Build(declared, nil, nil, config.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return m.Profiles
}

var nobody = oracle(nil)

// usedBy gives VFs of a NIC the use, by their indexes.
func (n NIC) usedBy(uses []custody.Use, indexes ...int) NIC {
	n.Uses = oracleOf(n, uses, indexes...)
	return n
}

func oracleOf(n NIC, uses []custody.Use, indexes ...int) oracle {
	o := oracle{}
	for _, i := range indexes {
		o[n.VFs[i].Address] = uses
	}
	return o
}

func text(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	return b.String()
}

const fullSpec = `{pf: {numVFs: 4, mtu: 9000}, vfGroups: [
  {vfs: 0-1, resourceName: fast, mtu: 9000, vlan: 100, vlanQoS: 3, trust: "on", spoofCheck: "off"},
  {vfs: "2", resourceName: dpdk, driver: vfio-pci}]}`

func TestPlan(t *testing.T) {
	none, four := igb(pf0, "ens1f0", 0), igb(pf0, "ens1f0", 4)
	edit := func(nic NIC, change func(*NIC)) NIC {
		nic.VFs = append([]device.VF{}, nic.VFs...)
		nic.Settings = maps.Clone(nic.Settings)
		nic.Uses = map[pci.Address][]custody.Use{}
		change(&nic)
		return nic
	}
	fitting := edit(four, func(n *NIC) {
		n.MTU = 9000
		for i := range 2 {
			n.VFs[i].MTU = 9000
			n.Settings[i] = device.Settings{VLAN: ptr(100), QoS: ptr(3), VLANProto: ptr("802.1q"), Trust: ptr(true), SpoofCheck: ptr(false)}
		}
		n.VFs[2].Driver, n.VFs[2].Netdev, n.VFs[2].MTU = "vfio-pci", "", 0
	})
	tests := []struct {
		name  string
		specs []string
		nic   NIC
		held  []int
		want  string
	}{
		{name: "from nothing", specs: []string{fullSpec}, nic: none, want: `
			ens1f0: MTU 1500 -> 9000
			ens1f0: numVFs 0 -> 4
			ens1f0: up
			ens1f0: VF 0 (new): VLAN 100 QoS 3
			ens1f0: VF 0 (new): spoof check off
			ens1f0: VF 0 (new): trust on
			ens1f0: VF 0 (new): MTU 9000
			ens1f0: VF 1 (new): VLAN 100 QoS 3
			ens1f0: VF 1 (new): spoof check off
			ens1f0: VF 1 (new): trust on
			ens1f0: VF 1 (new): MTU 9000
			ens1f0: VF 2 (new): driver vfio-pci`},
		{name: "existing VFs are adopted, without a reset", specs: []string{fullSpec}, nic: four, want: `
			ens1f0: MTU 1500 -> 9000
			ens1f0: VF 0: VLAN 0 -> 100 QoS 3
			ens1f0: VF 0: spoof check off
			ens1f0: VF 0: trust on
			ens1f0: VF 0: MTU 1500 -> 9000
			ens1f0: VF 1: VLAN 0 -> 100 QoS 3
			ens1f0: VF 1: spoof check off
			ens1f0: VF 1: trust on
			ens1f0: VF 1: MTU 1500 -> 9000
			ens1f0: VF 2: driver igbvf -> vfio-pci`},
		{name: "what fits needs nothing", specs: []string{fullSpec}, nic: fitting, want: ``},
		{name: "only up", specs: []string{fullSpec}, nic: edit(fitting, func(n *NIC) { n.Up = false }), want: `
			ens1f0: up`},
		{name: "the PF is left down if no VFs are asked for", specs: []string{`{pf: {numVFs: 0}}`}, nic: none, want: ``},
		{name: "nothing is asked for", specs: []string{`{pf: {}}`}, nic: four, want: ``},
		{name: "no profile selects it", specs: []string{`{nics: {vendors: ["15b3"]}, pf: {numVFs: 2}}`}, nic: four, want: ``},
		{name: "another number goes through 0", specs: []string{`{pf: {numVFs: 7}}`}, nic: four, want: `
			ens1f0: numVFs 4 -> 0
			ens1f0: numVFs 0 -> 7`},
		{name: "fewer go through 0 as well", specs: []string{`{pf: {numVFs: 2}, vfGroups: [{driver: vfio-pci}]}`}, nic: four, want: `
			ens1f0: numVFs 4 -> 0
			ens1f0: numVFs 0 -> 2
			ens1f0: VF 0 (new): driver vfio-pci
			ens1f0: VF 1 (new): driver vfio-pci`},
		{name: "none", specs: []string{`{pf: {numVFs: 0}}`}, nic: four, want: `
			ens1f0: numVFs 4 -> 0`},
		// op#225, op#718: nothing that a pod uses is taken from it, and the rest goes on.
		{name: "a held VF refuses another number", specs: []string{`{pf: {numVFs: 7}, vfGroups: [{vlan: 5}]}`}, nic: four, held: []int{1, 3}, want: `
			ens1f0: blocked: numVFs 4 -> 7: VF 1 is held by pod ns/p, VF 3 is held by pod ns/p: the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)
			ens1f0: VF 0: VLAN 0 -> 5
			ens1f0: blocked: VF 1: VLAN 0 -> 5: it is held by pod ns/p: the change is made when it is free
			ens1f0: VF 2: VLAN 0 -> 5
			ens1f0: blocked: VF 3: VLAN 0 -> 5: it is held by pod ns/p: the change is made when it is free`},
		{name: "a held VF's knobs and MTU follow later", specs: []string{`{pf: {}, vfGroups: [{vlan: 5, mtu: 1400, trust: "on", spoofCheck: "on"}]}`}, nic: igb(pf0, "ens1f0", 2), held: []int{1}, want: `
			ens1f0: VF 0: VLAN 0 -> 5
			ens1f0: VF 0: trust on
			ens1f0: VF 0: MTU 1500 -> 1400
			ens1f0: blocked: VF 1: VLAN 0 -> 5, trust on, MTU 1500 -> 1400: it is held by pod ns/p: the change is made when it is free`},
		{name: "a held VF's driver follows later", specs: []string{`{pf: {}, vfGroups: [{driver: vfio-pci}]}`}, nic: igb(pf0, "ens1f0", 2), held: []int{1}, want: `
			ens1f0: VF 0: driver igbvf -> vfio-pci
			ens1f0: blocked: VF 1: driver igbvf -> vfio-pci: it is held by pod ns/p: the change is made when it is free`},
		{name: "the PF's MTU waits for its VFs to be free", specs: []string{`{pf: {mtu: 9000}, vfGroups: [{vfs: '0', mtu: 9000}, {vfs: '1', vlan: 5}]}`}, nic: four, held: []int{3}, want: `
			ens1f0: blocked: MTU 1500 -> 9000: VF 3 is held by pod ns/p: a change of the PF's MTU can interrupt the link of its VFs; it is made when they are free
			ens1f0: blocked: VF 0: MTU 1500 -> 9000: the PF's MTU is 1500 and has to be changed first
			ens1f0: VF 1: VLAN 0 -> 5`},
		{
			name: "a netdev in another namespace is as good as held", specs: []string{`{pf: {numVFs: 2}}`},
			nic: edit(four, func(n *NIC) {
				n.VFs[3].Netdev = ""
				n.Uses[n.VFs[3].Address] = []custody.Use{{Kind: custody.Namespace, Who: "another network namespace", Driver: "igbvf"}}
			}), want: `
			ens1f0: blocked: numVFs 4 -> 2: VF 3 is held by another network namespace, or its driver igbvf has made no netdev: the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)`,
		},
		{name: "more than the NIC has", specs: []string{`{pf: {numVFs: 8}, vfGroups: [{vfs: '0', vlan: 5}]}`}, nic: four, want: `
			ens1f0: blocked: numVFs 4 -> 8: the NIC supports at most 7 (sriov_totalvfs)
			ens1f0: VF 0: VLAN 0 -> 5`},
		{name: "VF MTU above the PF's", specs: []string{`{pf: {}, vfGroups: [{vfs: '0', mtu: 9000}]}`}, nic: four, want: `
			ens1f0: blocked: VF 0: MTU 1500 -> 9000: the PF's MTU is 1500: set spec.pf.mtu to 9000 or more`},
		{
			name: "back to the kernel's driver", specs: []string{`{pf: {}, vfGroups: [{mtu: 1400}]}`},
			nic: edit(igb(pf0, "ens1f0", 2), func(n *NIC) {
				n.VFs[0].Driver, n.VFs[0].Netdev, n.VFs[0].MTU = "vfio-pci", "", 0
				n.VFs[1].Driver, n.VFs[1].Netdev, n.VFs[1].MTU = "", "", 0
			}), want: `
			ens1f0: VF 0: driver vfio-pci -> the kernel's own
			ens1f0: VF 0: MTU 1400
			ens1f0: VF 1: driver none -> the kernel's own
			ens1f0: VF 1: MTU 1400`,
		},
		{
			name: "a VLAN is taken away, priority is kept if not asked for", specs: []string{`{pf: {}, vfGroups: [{vfs: '0', vlan: 0}, {vfs: '1', vlan: 7}, {vfs: '2', vlan: 6}, {vfs: '3', vlan: 6}]}`},
			nic: edit(four, func(n *NIC) {
				n.Settings[0] = device.Settings{VLAN: ptr(6), QoS: ptr(2), VLANProto: ptr("802.1q")}
				n.Settings[1] = device.Settings{VLAN: ptr(6), QoS: ptr(2), VLANProto: ptr("802.1q")}
				n.Settings[2] = device.Settings{VLAN: ptr(6), QoS: ptr(2), VLANProto: ptr("802.1q")}
				n.Settings[3] = device.Settings{VLAN: ptr(6), QoS: ptr(0), VLANProto: ptr("802.1ad")}
			}), want: `
			ens1f0: VF 0: VLAN 6 QoS 2 -> 0
			ens1f0: VF 1: VLAN 6 QoS 2 -> 7 QoS 2
			ens1f0: VF 3: VLAN 6 802.1ad -> 6`,
		},
		{
			name: "the driver reports nothing", specs: []string{`{pf: {}, vfGroups: [{vfs: '0', trust: "off", spoofCheck: "on", vlan: 4}]}`},
			nic: edit(four, func(n *NIC) { n.Settings = nil }), want: `
			ens1f0: VF 0: VLAN 4
			ens1f0: VF 0: spoof check on
			ens1f0: VF 0: trust off`,
		},
		{
			name: "a PF without netdev", specs: []string{`{pf: {numVFs: 2, mtu: 9000}, vfGroups: [{vfs: '0', trust: "on"}, {vfs: '1', driver: vfio-pci}]}`},
			nic: edit(none, func(n *NIC) { n.Netdev, n.MTU, n.Driver = "", 0, "vfio-pci" }), want: `
			0000:3b:00.0: blocked: MTU 9000: the PF has no netdev through which this could be set: its driver is vfio-pci
			0000:3b:00.0: numVFs 0 -> 2
			0000:3b:00.0: blocked: VF 0 (new): trust on: the PF has no netdev through which this could be set: its driver is vfio-pci
			0000:3b:00.0: VF 1 (new): driver vfio-pci`,
		},
		{name: "the higher priority has it", specs: []string{`{priority: 1, pf: {numVFs: 1}}`, `{priority: 2, pf: {numVFs: 2}}`}, nic: none, want: `
			ens1f0: numVFs 0 -> 2
			ens1f0: up`},
		{name: "of equal priority neither has it", specs: []string{`{pf: {numVFs: 1}}`, `{pf: {numVFs: 2}}`, `{priority: -1, pf: {numVFs: 3}}`}, nic: none, want: `
			ens1f0: blocked: apply the profile: profiles "a" and "b" both select it with priority 0: raise the priority of one of them; until then the PF stays as it is
			ens1f0: blocked: apply the profile: profiles "a" and "b" both select it with priority 0: raise the priority of one of them; until then the PF stays as it is`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nic := tt.nic
			if len(tt.held) > 0 {
				nic = nic.usedBy(pod("pod ns/p"), tt.held...)
			}
			got := text(Plan(build(t, tt.specs...), []NIC{nic}))
			want := strings.TrimPrefix(strings.ReplaceAll(tt.want, "\t", ""), "\n")
			if want != "" {
				want += "\n"
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// op#306: a profile is in effect if a VF that a pod holds comes back as declared,
// whatever the pod's network has made of it.
func TestPlanComparesHowAHeldVFComesBack(t *testing.T) {
	const spec = `{pf: {}, vfGroups: [{vlan: 5, mtu: 1400, trust: "on"}]}`
	for name, tt := range map[string]struct {
		returns ledger.VFState
		want    string
	}{
		"as declared":      {ledger.VFState{Settings: device.Settings{VLAN: ptr(5), QoS: ptr(0), VLANProto: ptr("802.1q"), Trust: ptr(true), MTU: ptr(1400)}}, ""},
		"as it was before": {ledger.VFState{Settings: device.Settings{VLAN: ptr(0), QoS: ptr(0), Trust: ptr(false), MTU: ptr(1500)}}, "VLAN 0 -> 5, trust on, MTU 1500 -> 1400"},
		"in part":          {ledger.VFState{Settings: device.Settings{VLAN: ptr(5), QoS: ptr(0), Trust: ptr(false), MTU: ptr(1400)}}, "trust on"},
		"nobody knows":     {ledger.VFState{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			nic := igb(pf0, "ens1f0", 1)
			nic.VFs[0].Netdev, nic.VFs[0].MTU = "", 0 // in the pod
			nic.Settings[0] = device.Settings{VLAN: ptr(77), VLANProto: ptr("802.1ad"), Trust: ptr(false)}
			nic = nic.usedBy([]custody.Use{{Kind: custody.Sandbox, Who: "pod ns/p", Returns: &tt.returns}}, 0)
			want := ""
			if tt.want != "" {
				want = "ens1f0: blocked: VF 0: " + tt.want + ": it is held by pod ns/p: the change is made when it is free\n"
			}
			if d := cmp.Diff(want, text(Plan(build(t, spec), []NIC{nic}))); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// op#967: a PF that was renamed is still found by its altname.
func TestPlanFindsARenamedPF(t *testing.T) {
	nic := igb(pf0, "eth7", 0)
	nic.AltNames = []string{"enp59s0f0", "ens1f0"}
	got := text(Plan(build(t, `{nics: {pfNames: ["ens1*"]}, pf: {numVFs: 1}}`), []NIC{nic}))
	if d := cmp.Diff("eth7: numVFs 0 -> 1\neth7: up\n", got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func BenchmarkPlan1024VFs(b *testing.B) {
	var nics []NIC
	for i := range 8 {
		addr := pci.Address{Bus: uint8(0x20 + 0x10*i)}
		nic := igb(addr, "ens"+string(rune('0'+i)), 0)
		nic.TotalVFs, nic.NumVFs, nic.Up = 128, 128, true
		for v := range 128 {
			nic.VFs = append(nic.VFs, device.VF{Address: sysfstest.VFAddress(addr, 128, 2, v), PF: addr, Index: v, Driver: "iavf", Netdev: "x", MTU: 1500})
			nic.Settings[v] = device.Settings{VLAN: ptr(0), QoS: ptr(0), VLANProto: ptr("802.1q"), Trust: ptr(true)}
		}
		nics = append(nics, nic)
	}
	profiles := build(b, `{pf: {numVFs: 128, mtu: 1500}, vfGroups: [{vfs: 0-63, mtu: 1500, trust: "on"}, {vfs: 64-127, vlan: 0}]}`)
	for b.Loop() {
		if steps := Plan(profiles, nics); len(steps) != 0 {
			b.Fatal(text(steps))
		}
	}
}
