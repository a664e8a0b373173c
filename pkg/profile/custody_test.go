package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
)

// Devices A1: a VF that the node's own network runs on is in no record of a pod.
// Taking it would cut the node off.
func TestConvergeSparesWhatTheHostUses(t *testing.T) {
	const used = "used by the host: ens1f0v1 is below mgmt.5"
	for spec, want := range map[string]string{
		`{nics: {pfNames: [ens1f0]}, pf: {numVFs: 3}}`: "numVFs 2 -> 3: VF 1 is " + used +
			": the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)",
		`{nics: {pfNames: [ens1f0]}, pf: {mtu: 9000}}`: "MTU 1500 -> 9000: VF 1 is " + used +
			": a change of the PF's MTU can interrupt the link of its VFs; it is made when they are free",
		`{pf: {numVFs: 2}, vfGroups: [{vfs: '1', driver: vfio-pci}]}`: "VF 1: driver igbvf -> vfio-pci: it is " + used + ": the change is made when it is free",
		`{pf: {numVFs: 2}, vfGroups: [{vfs: '1', vlan: 5}]}`:          "VF 1: VLAN 0 -> 5: it is " + used + ": the change is made when it is free",
		`{pf: {numVFs: 2}, vfGroups: [{vfs: '1', mtu: 1400}]}`:        "VF 1: MTU 1500 -> 1400: it is " + used + ": the change is made when it is free",
	} {
		t.Run(spec, func(t *testing.T) {
			k := newKernel(t)
			nic := igb(pf0, "ens1f0", 2)
			k.AddPF(nic.PF)
			k.up[k.index("ens1f0")] = true
			before := k.state()
			a := applier(k)
			a.Custody = oracleOf(nic, host("below mgmt.5"), 1)
			if d := cmp.Diff("a ready false on 1\n  ens1f0: "+want+"\n", statusText(converge(t, k, a, build(t, spec)))); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if d := cmp.Diff(before, k.state()); d != "" {
				t.Errorf("-before +after\n%s", d)
			}
		})
	}
}

// devices A1: a PF that the host uses is changed only if its profile names it. A PF that a
// pod uses is never changed. A PF can always be brought up, which disturbs nobody.
func TestConvergeAsksForThePF(t *testing.T) {
	const unnamed = "the PF is used by the host: ens1f0 is a port of bond0: to change it anyway, name it in spec.nics.pfNames or spec.nics.pciAddresses, without a glob\n"
	const podOn = "the PF is used by pod ns/p (net1): free it first (delete these pods, or drain the node)\n"
	children := []custody.Use{{Kind: custody.Children, Who: "pod ns/p (net1)"}}
	for name, tt := range map[string]struct {
		nics string
		uses []custody.Use
		want string
	}{
		"free":                          {"{}", nil, ""},
		"by the host":                   {"{}", []custody.Use{{Kind: custody.Host, Netdev: "ens1f0", How: "a port of bond0"}}, unnamed},
		"by the host, selected by glob": {"{pfNames: ['ens1*'], pciAddresses: ['0000:3b:*']}", []custody.Use{{Kind: custody.Host, Netdev: "ens1f0", How: "a port of bond0"}}, unnamed},
		"by the host, another is named": {"{pfNames: ['ens1*', ens2f0]}", []custody.Use{{Kind: custody.Host, Netdev: "ens1f0", How: "a port of bond0"}}, unnamed},
		"by the host, named":            {"{pfNames: [ens9, ens1f0]}", []custody.Use{{Kind: custody.Host, Netdev: "ens1f0", How: "a port of bond0"}}, ""},
		"by the host, named by address": {"{pciAddresses: ['3b:00.0']}", []custody.Use{{Kind: custody.Host, Netdev: "ens1f0", How: "a port of bond0"}}, ""},
		"by a pod, named":               {"{pfNames: [ens1f0]}", children, podOn},
		"reports 8: by a pod, as a whole": {"{pfNames: [ens1f0]}", []custody.Use{{Kind: custody.Sandbox, Who: "pod ns/p (net1)"}},
			"the PF is held by pod ns/p (net1): free it first (delete these pods, or drain the node)\n"},
		"reports 8: allocated as a whole": {"{}", []custody.Use{{Kind: custody.Allocation, Who: "a container", Resource: "nvidia.com/hostdev"}},
			"the PF is held by a container that the kubelet gave it to as nvidia.com/hostdev: free it first (delete these pods, or drain the node)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t)
			k.AddPF(igb(pf0, "ens1f0", 0).PF)
			a := applier(k)
			a.Custody = oracle{pf0: tt.uses}
			want, state := "a ready true on 1\n", "ens1f0 mtu 9000 up true\n  0 igbvf ens1f0v0 mtu 1500 vlan 0/0 trust false spoof true\n"
			if tt.want != "" {
				want = "a ready false on 1\n  ens1f0: MTU 1500 -> 9000: " + tt.want + "  ens1f0: numVFs 0 -> 1: " + tt.want
				state = "ens1f0 mtu 1500 up false\n"
			}
			if d := cmp.Diff(want, statusText(converge(t, k, a, build(t, "{nics: "+tt.nics+", pf: {numVFs: 1, mtu: 9000}}")))); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
			if d := cmp.Diff(state, k.state()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// A pod may get its VF, and the host may begin to use a PF, between plan and apply:
// each change asks again.
func TestApplyAsksAgain(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 2).PF)
	before := k.state()
	for _, late := range []oracle{oracleOf(igb(pf0, "ens1f0", 2), pod("pod ns/late"), 0, 1), {pf0: pod("pod ns/late")}} {
		specs := []string{`{pf: {numVFs: 3}}`, `{pf: {mtu: 9000}}`}
		if late[pf0] == nil {
			specs = append(specs, `{pf: {}, vfGroups: [{driver: vfio-pci}]}`, `{pf: {}, vfGroups: [{trust: "on"}]}`, `{pf: {}, vfGroups: [{mtu: 1400}]}`)
		}
		for _, spec := range specs {
			a := applier(k)
			nics := k.gather(build(t, spec))
			for i := range nics {
				nics[i].Up = true
			}
			a.Custody = late
			failures := a.Apply(t.Context(), Plan(build(t, spec), nics))
			if len(failures) == 0 {
				t.Errorf("%s: no failure", spec)
			}
			for _, f := range failures {
				if !strings.Contains(f.Cause, "held by pod ns/late") {
					t.Errorf("%s: %v", spec, f)
				}
			}
		}
	}
	if d := cmp.Diff(before, k.state()); d != "" {
		t.Errorf("a held VF was touched: -before +after\n%s", d)
	}
}

// PAINS 14: a VF that counts as held when it has just been made (as after a reboot,
// by a stale record) is left alone, and no other.
func TestApplySkipsOnlyTheHeldVF(t *testing.T) {
	k := newKernel(t)
	k.AddPF(igb(pf0, "ens1f0", 0).PF)
	a := applier(k)
	a.Custody = oracleOf(igb(pf0, "ens1f0", 3), pod("pod ns/p"), 1)
	got := converge(t, k, a, build(t, `{pf: {numVFs: 3}, vfGroups: [{resourceName: fast, vlan: 100, trust: "on"}]}`))
	const want = "a ready false on 1\n  ens1f0: VF 1: VLAN 0 -> 100, trust on: it is held by pod ns/p: the change is made when it is free\n"
	if d := cmp.Diff(want, statusText(got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	const state = `ens1f0 mtu 1500 up true
  0 igbvf ens1f0v0 mtu 1500 vlan 100/0 trust true spoof true
  1 igbvf ens1f0v1 mtu 1500 vlan 0/0 trust false spoof true
  2 igbvf ens1f0v2 mtu 1500 vlan 100/0 trust true spoof true
`
	if d := cmp.Diff(state, k.state()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// A VF that a process without a record has open through VFIO is as good as held: to
// unbind or drop it would wait for that process.
func TestConvergeSparesWhatIsOpenThroughVFIO(t *testing.T) {
	k := newKernel(t)
	nic := igb(pf0, "ens1f0", 2)
	for i := range nic.VFs {
		nic.VFs[i].Driver, nic.VFs[i].Netdev = "vfio-pci", ""
	}
	k.AddPF(nic.PF)
	a := applier(k)
	a.Custody = oracleOf(nic, []custody.Use{{Kind: custody.VFIO, Who: "a process without a record"}}, 1)
	const who = "held open through VFIO by a process without a record"
	const want = "a ready false on 1\n  ens1f0: numVFs 2 -> 3: VF 1 is " + who + ": the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)\n" +
		"  ens1f0: VF 1: driver vfio-pci -> the kernel's own: it is " + who + ": the change is made when it is free\n"
	if d := cmp.Diff(want, statusText(converge(t, k, a, build(t, `{pf: {numVFs: 3}, vfGroups: [{}]}`)))); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	const state = `ens1f0 mtu 1500 up true
  0 igbvf  mtu 0 vlan 0/0 trust false spoof true
  1 vfio-pci  mtu 0 vlan 0/0 trust false spoof true
`
	if d := cmp.Diff(state, k.state()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	// Opened since the plan was made.
	for _, s := range []Step{SetNumVFs{Target: Target{PF: pf0}, From: 2}, knobStep(VFTarget{Target: Target{PF: pf0}, VF: 1}, device.Settings{Driver: device.KernelDriver})} {
		if f := a.Apply(t.Context(), []Step{s}); len(f) != 1 || !strings.Contains(f[0].Cause, "VF 1 has just been taken: it is "+who) {
			t.Errorf("%v: %v", s, f)
		}
	}
}

// knobStep sets the one knob that the settings have.
func knobStep(t VFTarget, to device.Settings) Step {
	for _, k := range device.Knobs {
		if k.Has(to) {
			return SetKnob{VFTarget: t, Knob: k, To: to}
		}
	}
	panic("no knob")
}

// Blocked steps are reported and hinder nothing else.
func TestConvergeReportsWhatIsBlocked(t *testing.T) {
	k := newKernel(t)
	nic := igb(pf0, "ens1f0", 2)
	k.AddPF(nic.PF)
	a := applier(k)
	a.Custody = oracleOf(nic, pod("pod ns/p"), 1)
	got := converge(t, k, a, build(t, `{pf: {numVFs: 4}, vfGroups: [{vlan: 7}]}`))
	const want = `a ready false on 1
  ens1f0: numVFs 2 -> 4: VF 1 is held by pod ns/p: the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)
  ens1f0: VF 1: VLAN 0 -> 7: it is held by pod ns/p: the change is made when it is free
`
	if d := cmp.Diff(want, statusText(got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	const state = `ens1f0 mtu 1500 up true
  0 igbvf ens1f0v0 mtu 1500 vlan 7/0 trust false spoof true
  1 igbvf ens1f0v1 mtu 1500 vlan 0/0 trust false spoof true
`
	if d := cmp.Diff(state, k.state()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}
