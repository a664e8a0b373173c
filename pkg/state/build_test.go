package state

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

func ptr[T any](v T) *T { return &v }

var (
	pfAddress = pci.MustParseAddress("0000:02:00.0")
	vf0       = pci.MustParseAddress("0000:02:10.0")
	vf1       = pci.MustParseAddress("0000:02:10.2")
	vf2       = pci.MustParseAddress("0000:02:10.4")
	created   = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
)

func input() Input {
	return Input{
		Node: "node1",
		PFs: []device.PF{{Address: pfAddress, Netdev: "pf0", Carrier: true, VFs: []device.VF{
			{Address: vf1, PF: pfAddress, Index: 1}, {Address: vf0, PF: pfAddress, Index: 0}, {Address: vf2, PF: pfAddress, Index: 2},
		}}},
		Knobs: map[pci.Address]device.Settings{vf0: {VLAN: ptr(100)}},
		Pools: []PoolMembers{{Resource: "fairlead.dev/fast", Source: "lab.yaml", Devices: []pci.Address{vf0, vf1}, Unhealthy: map[pci.Address]string{}}},
		Sandboxes: []ledger.Sandbox{{ID: "abc", Pod: ledger.PodRef{Namespace: "demo", Name: "alpha"}, Created: created, Attachments: []ledger.Attachment{{
			Network: "demo/fast", IfName: "net1", Phase: ledger.Bound,
			Members: []ledger.Member{
				{Type: "sriov", Plugin: "sriov", Device: vf0, VF: &ledger.VFMember{
					Original: ledger.VFState{Netdev: &ledger.NetdevState{Name: "pf0v0"}, Settings: device.Settings{MTU: ptr(1500)}},
					Asked:    device.Settings{MAC: "02:00:00:00:00:01", MTU: ptr(9000), VLAN: ptr(100)},
				}},
				{Type: "tuning", Plugin: "tuning"},
			},
			Result: json.RawMessage(`{"cniVersion":"1.0.0","interfaces":[{"name":"pf0v0"},{"name":"net1","mac":"02:00:00:00:00:01","sandbox":"/x"}],"ips":[{"address":"10.0.0.5/24"},{"address":"fd00::5/64"}]}`),
		}}}},
		Allocated: map[pci.Address]ledger.PodRef{vf1: {}},
	}
}

func TestVFsAreJoinedWithPoolHolderAndKnobs(t *testing.T) {
	in := input()
	in.Pools[0].Unhealthy[vf1] = "no driver is bound to it"
	got := Build(in).PFs[0].VFs
	want := []VFReport{
		{
			VF: device.VF{Address: vf0, PF: pfAddress, Index: 0}, Pool: "fairlead.dev/fast", Allocated: true, Healthy: true,
			Holder:   &Holder{Sandbox: "abc", Pod: ledger.PodRef{Namespace: "demo", Name: "alpha"}, IfName: "net1", Network: "demo/fast", Phase: ledger.Bound, Since: created},
			Original: &device.Settings{MTU: ptr(1500)}, OriginalNetdev: "pf0v0",
			Applied: &device.Settings{MAC: "02:00:00:00:00:01", MTU: ptr(9000), VLAN: ptr(100)},
			Current: &device.Settings{VLAN: ptr(100)},
		},
		{VF: device.VF{Address: vf1, PF: pfAddress, Index: 1}, Pool: "fairlead.dev/fast", Allocated: true, Healthy: false, Reason: "no driver is bound to it"},
		{VF: device.VF{Address: vf2, PF: pfAddress, Index: 2}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("VFs differ (-want +got):\n%s", diff)
	}
}

func TestVFsWithoutAPFAreJoined(t *testing.T) {
	in := input()
	in.PFs, in.Lone = nil, []device.VF{{Address: vf1}, {Address: vf0}}
	got := Build(in).Lone
	if len(got) != 2 || got[0].Address != vf0 || got[0].Holder == nil || got[0].Pool != "fairlead.dev/fast" || !got[1].Allocated {
		t.Errorf("lone VFs %+v, want both in order, the first held, in their pool", got)
	}
}

func TestPoolCountsAllocatedFromKubeletAndLedger(t *testing.T) {
	in := input()
	vf3 := pci.MustParseAddress("0000:02:10.6")
	in.Pools[0].Devices = append(in.Pools[0].Devices, vf2, vf3)
	in.Pools[0].Unhealthy[vf1], in.Pools[0].Unhealthy[vf3] = "no driver is bound to it", "no driver is bound to it"
	got := Build(in).Pools
	want := []PoolReport{{Resource: "fairlead.dev/fast", Source: "lab.yaml", Capacity: 4, Healthy: 2, Allocated: 2, Free: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pools differ (-want +got):\n%s", diff)
	}
}

func TestAttachmentIsDescribed(t *testing.T) {
	got := Build(input()).Sandboxes[0].Attachments
	want := []AttachmentReport{{
		Network: "demo/fast", IfName: "net1", Kind: "sriov", Phase: ledger.Bound, Device: vf0,
		IPs: []string{"10.0.0.5/24", "fd00::5/64"}, MAC: "02:00:00:00:00:01", MTU: 9000, VLAN: 100,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attachments differ (-want +got):\n%s", diff)
	}
}

func TestProblemsAreNamed(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Input)
		want   []string
	}{
		{"none", func(*Input) {}, []string{}},
		{"reported by a part", func(in *Input) { in.Problems = []problem.Problem{{Text: "pool x: no device"}} }, []string{"pool x: no device"}},
		{"release that fails", func(in *Input) {
			in.Sandboxes[0].Failure, in.Sandboxes[0].Attempts = "device busy", 2
		}, []string{"pod demo/alpha: release of sandbox abc has failed 2 times and will be tried again: device busy"}},
		{"VF that is not handed out", func(in *Input) { in.Pools[0].Unhealthy[vf1] = "no driver is bound to it" },
			[]string{"pool fairlead.dev/fast (lab.yaml): VF 0000:02:10.2 is not handed out: no driver is bound to it"}},
		{"VFs that are not handed out", func(in *Input) {
			in.Pools[0].Unhealthy[vf1], in.Pools[0].Unhealthy[vf0] = "no driver is bound to it", "no driver is bound to it"
		}, []string{"pool fairlead.dev/fast (lab.yaml): 2 VFs (0000:02:10.0 to 0000:02:10.2) are not handed out: no driver is bound to it"}},
		{"held VF whose PF is not visible", func(in *Input) {
			in.PFs, in.Lone = nil, []device.VF{{Address: vf0}}
		}, []string{}},
		{"held VF that is gone", func(in *Input) { in.PFs[0].VFs = nil },
			[]string{"pod demo/alpha, network demo/fast, interface net1: its VF 0000:02:10.0 is no longer on this node; delete the pod, so that it gets another"}},
		{"held VF that was made again", func(in *Input) { in.PFs[0].VFs[1].Netdev = "eth0" },
			[]string{"pod demo/alpha, network demo/fast, interface net1: its VF 0000:02:10.0 is on the host, as eth0, and not in the pod (its VFs were made again, or it was moved by hand); delete the pod, so that it gets another"}},
		{"held VF on its way back", func(in *Input) {
			in.PFs[0].VFs[1].Netdev, in.Sandboxes[0].Releasing = "eth0", true
		}, []string{}},
		{"profile that is not ready", func(in *Input) {
			in.Profiles = []ProfileReport{{Name: "lab", Source: "lab.yaml", Message: "pf0: no such device"}}
		},
			[]string{"profile lab (lab.yaml): pf0: no such device"}},
		// lab "PF down: topology says no carrier, the pool stays healthy, status ok".
		{"PF without carrier that pods and a pool use", func(in *Input) { in.PFs[0].Carrier = false },
			[]string{"PF pf0 (0000:02:00.0) has no carrier, so no packet passes for pool fairlead.dev/fast, pod demo/alpha: look at `ip link show pf0`, the cable and the switch port"}},
		{"PF without carrier below a macvlan", func(in *Input) {
			in.PFs[0].Carrier, in.Pools = false, nil
			in.PFs[0].AltNames = []string{"wan"}
			in.Sandboxes[0].Attachments[0].Members = []ledger.Member{{Plugin: "macvlan", Child: &ledger.ChildMember{Uplink: "wan"}}}
		}, []string{"PF pf0 (0000:02:00.0) has no carrier, so no packet passes for pod demo/alpha: look at `ip link show pf0`, the cable and the switch port"}},
		// devices A8: a live holder whose allocation is no longer the kubelet's.
		{"VF of a running pod that the kubelet may give away", func(in *Input) {
			in.Ungranted = []custody.Use{{Kind: custody.Sandbox, Function: vf0, Who: "pod demo/alpha (net1)", Pod: ledger.PodRef{Namespace: "demo", Name: "alpha"}, IfName: "net1", Resource: "fairlead.dev/fast", Ungranted: true}}
		}, []string{"VF 0000:02:10.0: pod demo/alpha (net1) has it as fairlead.dev/fast, and the kubelet no longer lists it there, so it may give it to another pod: delete that pod"}},
		{"PF without carrier that nobody uses", func(in *Input) {
			in.PFs[0].Carrier, in.Pools, in.Sandboxes = false, nil, nil
		}, []string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := input()
			test.change(&in)
			if diff := cmp.Diff(strings.Join(test.want, "\n"), problem.Join(Build(in).Problems, "\n")); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
	}
}

// A reason that counts must not end and begin a problem at each count: each end is an event.
func TestACountedReasonIsOneProblem(t *testing.T) {
	about := map[string]bool{}
	for _, reason := range []string{"its release has failed 2 times", "its release has failed 3 times"} {
		in := input()
		in.Pools[0].Unhealthy[vf1] = reason
		for _, p := range Build(in).Problems {
			about[p.About] = true
		}
	}
	if len(about) != 1 {
		t.Errorf("%v", about)
	}
}

func TestReleasedAttachmentHoldsNothing(t *testing.T) {
	in := input()
	in.Sandboxes[0].Attachments[0].Phase = ledger.Released
	if vf := Build(in).PFs[0].VFs[0]; vf.Holder != nil || vf.Allocated {
		t.Errorf("VF 0 = %+v, want it free: its only attachment is released", vf)
	}
}

func TestBuildLeavesItsInputAlone(t *testing.T) {
	in, want := input(), input()
	in.Problems = make([]problem.Problem, 0, 8)
	in.PFs[0].VFs = in.PFs[0].VFs[:2] // a held VF remains, with spare capacity behind it
	Build(in)
	if diff := cmp.Diff(want.PFs[0].VFs[:2], in.PFs[0].VFs); diff != "" {
		t.Errorf("Build changed its input (-want +got):\n%s", diff)
	}
}

// A consumer of the JSON finds lists, never null: `jq '.sandboxes | length'`.
func TestEmptyStateHasEmptyLists(t *testing.T) {
	got, err := json.Marshal(Build(Input{Node: "n"}))
	want := `{"node":"n","time":"0001-01-01T00:00:00Z","pfs":[],"lone":[],"nics":[],"pools":[],"sandboxes":[],"profiles":[],"failing":[],"counters":{"adds":0,"failedAdds":0},"tombstones":0,"problems":[]}`
	if err != nil || string(got) != want {
		t.Errorf("JSON of an empty state = %s, %v; want %s", got, err, want)
	}
}

func TestReturnedDeviceIsHeldByNobody(t *testing.T) {
	for name, give := range map[string]func(*ledger.Member){
		"device returned": func(m *ledger.Member) { m.DeviceReturned = true },
		"member released": func(m *ledger.Member) { m.Released = true },
	} {
		in := input()
		give(&in.Sandboxes[0].Attachments[0].Members[0])
		if vf := Build(in).PFs[0].VFs[0]; vf.Holder != nil || vf.Allocated || vf.Original != nil {
			t.Errorf("%s: VF 0 = %+v, want it free", name, vf)
		}
	}
}

// lab.md: fairleadctl vf shows the MTU, even of a VF that nobody holds.
func TestCurrentHasWhatTheHostSees(t *testing.T) {
	in := input()
	vf := &in.PFs[0].VFs[0]
	vf.Driver, vf.Netdev, vf.MAC, vf.MTU = "igbvf", "pf0v1", "52:54:00:00:02:02", 1500
	want := &device.Settings{Driver: "igbvf", MAC: "52:54:00:00:02:02", MTU: ptr(1500)}
	if diff := cmp.Diff(want, Build(in).PFs[0].VFs[1].Current); diff != "" {
		t.Errorf("a VF on the host (-want +got):\n%s", diff)
	}
	vf.Driver, vf.Netdev = "vfio-pci", ""
	if diff := cmp.Diff(&device.Settings{Driver: "vfio-pci"}, Build(in).PFs[0].VFs[1].Current); diff != "" {
		t.Errorf("a VF in userspace (-want +got):\n%s", diff)
	}
}

func TestEachKindIsDescribed(t *testing.T) {
	macvlan := ledger.Member{Type: "sriov", Plugin: "macvlan", Child: &ledger.ChildMember{Uplink: "pf0", Mode: "bridge", VLAN: 100, MTU: 1400, MAC: "9a:00:00:00:00:01"}}
	tests := []struct {
		name string
		in   ledger.Attachment
		want AttachmentReport
	}{
		{"binaries", ledger.Attachment{IfName: "eth0", Members: []ledger.Member{{Type: "bridge", Plugin: "binary"}, {Type: "tuning", Plugin: "tuning"}}},
			AttachmentReport{IfName: "eth0", Kind: "exec"}},
		{"a binary with a device", ledger.Attachment{IfName: "net1", Members: []ledger.Member{{Type: "host-device", Plugin: "binary", Device: vf0}}},
			AttachmentReport{IfName: "net1", Kind: "exec", Device: vf0}},
		{"fallback", ledger.Attachment{IfName: "net1", Members: []ledger.Member{macvlan}, Fallback: &ledger.Fallback{From: "sriov", Reason: "no device"}},
			AttachmentReport{IfName: "net1", Kind: "macvlan", Uplink: "pf0", VLAN: 100, MTU: 1400, MAC: "9a:00:00:00:00:01", FallbackFrom: "sriov", FallbackReason: "no device"}},
		{"result says more", ledger.Attachment{IfName: "net1", Members: []ledger.Member{macvlan},
			Result: json.RawMessage(`{"cniVersion":"1.0.0","interfaces":[{"name":"net1","mac":"02:00:00:00:00:02","mtu":1300,"sandbox":"/x"}]}`)},
			AttachmentReport{IfName: "net1", Kind: "macvlan", Uplink: "pf0", VLAN: 100, MTU: 1300, MAC: "02:00:00:00:00:02"}},
		{"nothing yet", ledger.Attachment{IfName: "net1"}, AttachmentReport{IfName: "net1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Sandboxes: []ledger.Sandbox{{ID: "a", Attachments: []ledger.Attachment{test.in}}}}
			if diff := cmp.Diff(test.want, Build(in).Sandboxes[0].Attachments[0]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// reports 8: whole functions are reported with pool and holder. That a NIC which a pool selects
// only by its kind is the node's own is no problem.
func TestWholeFunctions(t *testing.T) {
	held, mgmt, nic, free := pfAddress, pci.MustParseAddress("0000:03:00.0"), pci.MustParseAddress("0000:04:00.0"), pci.MustParseAddress("0000:05:00.0")
	in := Input{
		Node: "node1",
		PFs:  []device.PF{{Address: held}, {Address: mgmt, Netdev: "eth0"}, {Address: free, Netdev: "eth2"}},
		NICs: []device.PF{{Address: nic, Netdev: "eth1"}},
		Pools: []PoolMembers{{Resource: "nvidia.com/hostdev", Source: "cm", Devices: []pci.Address{held, mgmt, nic}, Incidental: map[pci.Address]bool{mgmt: true},
			Unhealthy: map[pci.Address]string{mgmt: "the host uses it", nic: "the host uses it"}}},
		Sandboxes: []ledger.Sandbox{{ID: "abc", Pod: ledger.PodRef{Namespace: "demo", Name: "alpha"}, Attachments: []ledger.Attachment{{
			Network: "demo/whole", IfName: "net1", Phase: ledger.Bound, Members: []ledger.Member{{Plugin: "sriov", Device: held}}}}}},
	}
	got := Build(in)
	if diff := cmp.Diff("pool nvidia.com/hostdev (cm): NIC 0000:04:00.0 is not handed out: the host uses it", problem.Join(got.Problems, "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	whole := got.PFs[0].Whole
	if whole == nil || whole.Holder == nil || whole.Holder.Pod.Name != "alpha" || whole.Pool != "nvidia.com/hostdev" || !whole.Whole {
		t.Errorf("held: %+v", whole)
	}
	if got.PFs[2].Whole != nil || got.NICs[0].Whole == nil {
		t.Errorf("free: %+v, NIC: %+v", got.PFs[2].Whole, got.NICs[0].Whole)
	}
	if p := got.Pools[0]; p.Capacity != 3 || p.Healthy != 1 || p.Allocated != 1 {
		t.Errorf("pool %+v", p)
	}
}
