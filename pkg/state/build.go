package state

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

// Input is the knowledge of the agent's parts, as plain values.
type Input struct {
	Node       string
	Build      string // the agent's version
	Time       time.Time
	PFs        []device.PF
	Lone       []device.VF                     // VFs whose PF is not visible, as inside a virtual machine
	NICs       []device.PF                     // NICs without SR-IOV
	Knobs      map[pci.Address]device.Settings // the VFs' current settings at their PF; some or all may be missing
	Pools      []PoolMembers
	Sandboxes  []ledger.Sandbox
	Allocated  map[pci.Address]ledger.PodRef // VFs that the kubelet has given away, with the pod if it is known
	Ungranted  []custody.Use                 // VFs of running pods that the kubelet no longer lists
	Profiles   []ProfileReport
	Failing    []FailingPod
	Counters   Counters
	Tombstones int
	Repaired   int               // VFs that were repaired since the agent started
	Problems   []problem.Problem // the problems that the parts report
}

// PoolMembers is a pool with its devices.
type PoolMembers struct {
	Resource  string
	Type      device.Type
	Source    string
	Idle      bool
	Devices   []pci.Address
	Unhealthy map[pci.Address]string // devices that the kubelet must not hand out, and why
	// Incidental are whole functions that the pool selects only by their kind. That one is
	// unhealthy, as the node's own NIC is, is no problem.
	Incidental map[pci.Address]bool
}

// Build joins the input into one State. It adds the problems that the join shows: a VF that is
// not handed out, a held VF that is gone, a release that keeps failing.
func Build(in Input) State {
	b := builder{in: in, vfs: map[pci.Address]VFReport{}, problems: slices.Clone(in.Problems)}
	b.joinPools()
	b.joinAllocations()
	b.joinSandboxes()
	b.findDownPFs()
	return State{
		Node:       in.Node,
		Build:      in.Build,
		Time:       in.Time,
		PFs:        b.pfs(in.PFs),
		NICs:       b.pfs(in.NICs),
		Lone:       b.lone(),
		Pools:      b.pools(),
		Sandboxes:  b.sandboxes(),
		Profiles:   b.profiles(),
		Failing:    append([]FailingPod{}, in.Failing...),
		Counters:   in.Counters,
		Tombstones: in.Tombstones,
		Repaired:   in.Repaired,
		Problems:   append([]problem.Problem{}, b.problems...),
	}
}

type builder struct {
	in       Input
	vfs      map[pci.Address]VFReport // address → pool and holder, without the device itself
	problems []problem.Problem
}

func (b *builder) joinPools() {
	for _, pool := range b.in.Pools {
		for _, address := range pool.Devices {
			vf := b.vfs[address]
			vf.Pool = pool.Resource
			reason, unhealthy := pool.Unhealthy[address]
			vf.Healthy, vf.Reason = !unhealthy, reason
			b.vfs[address] = vf
		}
		b.problems = append(b.problems, b.unhealthyProblems(pool)...)
	}
}

func (b *builder) joinAllocations() {
	for address, pod := range b.in.Allocated {
		vf := b.vfs[address]
		vf.Allocated = true
		if pod.Name != "" {
			vf.AllocatedTo = &pod
		}
		b.vfs[address] = vf
	}
	for _, u := range b.in.Ungranted {
		b.problems = append(b.problems, heldWithoutGrant(u))
	}
}

func (b *builder) joinSandboxes() {
	for _, sandbox := range b.in.Sandboxes {
		if sandbox.Failure != "" {
			b.problems = append(b.problems, releaseFailed(sandbox))
		}
		for _, a := range sandbox.Attachments {
			if a.Phase == ledger.Released {
				continue
			}
			for _, m := range a.Members {
				if !m.Device.IsZero() && !m.Released && !m.DeviceReturned {
					b.hold(sandbox, a, m)
				}
			}
		}
	}
}

func (b *builder) hold(sandbox ledger.Sandbox, a ledger.Attachment, m ledger.Member) {
	vf := b.vfs[m.Device]
	vf.Allocated = true
	if m.VF != nil {
		vf.Original, vf.Applied = &m.VF.Original.Settings, &m.VF.Asked
		if m.VF.Original.Netdev != nil {
			vf.OriginalNetdev = m.VF.Original.Netdev.Name
		}
	}
	vf.Holder = &Holder{
		Sandbox: sandbox.ID, Pod: sandbox.Pod, IfName: a.IfName,
		Network: a.Network, Phase: a.Phase, Since: sandbox.Created,
	}
	b.vfs[m.Device] = vf
	if how, forPod := b.lost(sandbox, a, m); how != "" {
		b.problems = append(b.problems, vfOfPodLost(sandbox, a, m, how, forPod))
	}
}

// lost says how a pod has lost its VF, to the administrator and to the pod's author. It returns
// "" if the pod has the VF, or is being released.
func (b *builder) lost(sandbox ledger.Sandbox, a ledger.Attachment, m ledger.Member) (how, forPod string) {
	vf, ok := b.find(m.Device)
	switch {
	case !ok:
		return "is no longer on this node", "is no longer on the node"
	// VFs that are removed and created again have the addresses of the old ones.
	case m.Plugin == pluginSRIOV && a.Phase == ledger.Bound && !sandbox.Releasing && vf.Netdev != "":
		return fmt.Sprintf("is on the host, as %s, and not in the pod (its VFs were made again, or it was moved by hand)", vf.Netdev), "is no longer in the pod"
	}
	return "", ""
}

// Plugins of a member.
const (
	pluginSRIOV  = "sriov" // its VF is in the pod's network namespace
	pluginBinary = "binary"
)

func (b *builder) find(address pci.Address) (device.VF, bool) {
	at := func(vf device.VF) bool { return vf.Address == address }
	for _, pf := range b.in.PFs {
		if i := slices.IndexFunc(pf.VFs, at); i >= 0 {
			return pf.VFs[i], true
		}
	}
	if i := slices.IndexFunc(b.in.Lone, at); i >= 0 {
		return b.in.Lone[i], true
	}
	for _, pf := range slices.Concat(b.in.PFs, b.in.NICs) {
		if pf.Address == address {
			return pf.Whole(), true
		}
	}
	return device.VF{}, false
}

func (b *builder) pfs(pfs []device.PF) []PFReport {
	out := make([]PFReport, 0, len(pfs))
	for _, pf := range pfs {
		joined := PFReport{PF: pf, VFs: make([]VFReport, 0, len(pf.VFs))}
		joined.PF.VFs = nil
		if known := b.vfs[pf.Address]; known.Pool != "" || known.Allocated {
			whole := b.join(pf.Whole())
			joined.Whole = &whole
		}
		for _, vf := range pf.VFs {
			joined.VFs = append(joined.VFs, b.join(vf))
		}
		slices.SortFunc(joined.VFs, func(x, y VFReport) int { return cmp.Compare(x.Index, y.Index) })
		out = append(out, joined)
	}
	slices.SortFunc(out, func(x, y PFReport) int { return x.Address.Compare(y.Address) })
	return out
}

func (b *builder) lone() []VFReport {
	out := make([]VFReport, 0, len(b.in.Lone))
	for _, vf := range b.in.Lone {
		out = append(out, b.join(vf))
	}
	slices.SortFunc(out, func(x, y VFReport) int { return x.Address.Compare(y.Address) })
	return out
}

// join adds pool, holder and current settings to a VF.
func (b *builder) join(vf device.VF) VFReport {
	known := b.vfs[vf.Address]
	known.VF = vf
	known.Current = current(vf, b.in.Knobs[vf.Address])
	return known
}

// current returns the VF's current settings: its knobs at the PF, and those that the VF itself
// shows on the host. A netdev in a pod shows nothing here.
func current(vf device.VF, knobs device.Settings) *device.Settings {
	knobs.Driver = vf.Driver
	if vf.Netdev != "" {
		knobs.MAC = vf.MAC
		if vf.MTU != 0 {
			knobs.MTU = &vf.MTU
		}
	}
	if knobs == (device.Settings{}) {
		return nil
	}
	return &knobs
}

// pools keeps the order of the input, in which pools match.
func (b *builder) pools() []PoolReport {
	out := make([]PoolReport, 0, len(b.in.Pools))
	for _, p := range b.in.Pools {
		pool := PoolReport{
			Resource: p.Resource, Type: p.Type, Source: p.Source, Idle: p.Idle,
			Capacity: len(p.Devices), Healthy: len(p.Devices) - len(p.Unhealthy),
		}
		for _, address := range p.Devices {
			switch vf := b.vfs[address]; {
			case vf.Allocated:
				pool.Allocated++
			case vf.Healthy:
				pool.Free++
			}
		}
		out = append(out, pool)
	}
	return out
}

func (b *builder) sandboxes() []SandboxReport {
	out := make([]SandboxReport, 0, len(b.in.Sandboxes))
	for _, s := range b.in.Sandboxes {
		sandbox := SandboxReport{
			ID: s.ID, Pod: s.Pod, Created: s.Created, Releasing: s.Releasing,
			Failure: s.Failure, Attempts: s.Attempts, RetryAt: s.RetryAt,
			Attachments: make([]AttachmentReport, 0, len(s.Attachments)),
		}
		for _, a := range s.Attachments {
			sandbox.Attachments = append(sandbox.Attachments, describeAttachment(a))
		}
		out = append(out, sandbox)
	}
	slices.SortFunc(out, func(x, y SandboxReport) int {
		return cmp.Or(cmp.Compare(x.Pod.String(), y.Pod.String()), cmp.Compare(x.ID, y.ID))
	})
	return out
}

func (b *builder) profiles() []ProfileReport {
	out := append([]ProfileReport{}, b.in.Profiles...)
	slices.SortFunc(out, func(x, y ProfileReport) int { return cmp.Compare(x.Name, y.Name) })
	for _, p := range out {
		if !p.Ready {
			b.problems = append(b.problems, problem.Problem{Reason: problem.ProfileNotInEffect, About: "profile " + p.Name,
				Text: fmt.Sprintf("profile %s (%s): %s", p.Name, p.Source, p.Message)})
		}
	}
	return out
}

func describeAttachment(a ledger.Attachment) AttachmentReport {
	out := AttachmentReport{Network: a.Network, IfName: a.IfName, Phase: a.Phase, Resource: a.Resource}
	if a.Fallback != nil {
		out.FallbackFrom, out.FallbackReason = a.Fallback.From, a.Fallback.Reason
	}
	for i, m := range a.Members {
		if i == 0 {
			out.Kind = kind(m)
		}
		if out.Device.IsZero() {
			out.Device = m.Device
		}
		if m.Child != nil {
			out.VLAN, out.MAC, out.MTU = m.Child.VLAN, m.Child.MAC, m.Child.MTU
		}
		if m.Child != nil && !m.Child.InPod {
			out.Uplink = m.Child.Uplink
		}
		if m.Veth != nil {
			out.Uplink, out.MAC, out.MTU = m.Veth.Bridge, m.Veth.MAC, m.Veth.MTU
		}
		if m.VF != nil {
			out.MAC, out.MTU, out.VLAN = m.VF.Asked.MAC, deref(m.VF.Asked.MTU), deref(m.VF.Asked.VLAN)
		}
	}
	addResult(&out, a.Result)
	return out
}

// kind returns the attachment's kind for the JSON. A binary has been "exec" there since the
// first release.
func kind(m ledger.Member) string {
	if m.Plugin == pluginBinary {
		return "exec"
	}
	return m.Plugin
}

// addResult copies addresses, MAC and MTU from the CNI result. If the result cannot be parsed,
// they are left out: one bad result must not hide the rest.
func addResult(out *AttachmentReport, raw []byte) {
	if len(raw) == 0 {
		return
	}
	parsed, err := types100.NewResult(raw)
	if err != nil {
		return
	}
	result := parsed.(*types100.Result)
	for _, ip := range result.IPs {
		out.IPs = append(out.IPs, ip.Address.String())
	}
	for _, link := range result.Interfaces {
		if link.Sandbox != "" {
			out.MAC = cmp.Or(link.Mac, out.MAC)
			out.MTU = cmp.Or(link.Mtu, out.MTU)
			return
		}
	}
}

func deref(v *int) int {
	if v == nil {
		return 0
	}
	return *v
}
