package profile

import (
	"cmp"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
)

// Plan says what is to be done so that the NICs are as the profiles declare, in
// order. The steps of one PF stand together; those of different PFs do not
// depend on each other. What cannot be done is in it too, as Blocked.
func Plan(profiles []config.Profile, nics []NIC, holders Holders) []Step {
	var steps []Step
	for _, nic := range nics {
		p, conflict := governing(profiles, nic.PF)
		switch {
		case conflict != "":
			for _, c := range contenders(profiles, nic.PF) {
				steps = append(steps, Blocked{on(c, nic.PF), "apply the profile", conflict})
			}
		case p != nil:
			steps = append(steps, planNIC(*p, nic, holders)...)
		}
	}
	return steps
}

// planNIC orders the steps of one PF: its MTU before there are VFs that a reset
// of the PF would disturb, and before their MTUs, which it bounds; the PF up
// before the knobs, which igb refuses in part while it is down.
func planNIC(p config.Profile, nic NIC, holders Holders) []Step {
	at := on(p, nic.PF)
	if nic.Unread != "" {
		return []Step{Blocked{at, "compare it with the profile", "it cannot be read: " + nic.Unread}}
	}
	var steps []Step
	steps, nic.MTU = planMTU(at, p, nic, holders)
	count, fresh, more := planNumVFs(at, p, nic, holders)
	steps = append(steps, more...)
	if count > 0 && nic.Netdev != "" && !nic.Up {
		steps = append(steps, SetUp{at})
	}
	if fresh {
		return append(steps, planNewVFs(at, p, nic, count)...)
	}
	for _, vf := range nic.VFs {
		if g := groupOf(p, vf.Index); g != nil {
			steps = append(steps, planVF(at, p, *g, nic, vf, holders)...)
		}
	}
	return steps
}

// planMTU returns also the MTU that the PF will have. Drivers take the link down
// for it, or reset the PF, which the pods of its VFs would feel.
func planMTU(at Target, p config.Profile, nic NIC, holders Holders) ([]Step, int) {
	if p.MTU == 0 || p.MTU == nic.MTU {
		return nil, nic.MTU
	}
	change := SetPFMTU{at, nic.MTU, p.MTU, nic.VFs}
	if nic.Netdev == "" {
		return []Step{Blocked{at, fmt.Sprintf("MTU %d", p.MTU), noNetdev(nic.PF)}}, nic.MTU
	}
	if reason := whoHolds(nic.VFs, holders); reason != "" {
		return []Step{Blocked{at, change.what(), reason + ": a change of the PF's MTU can take the link from its VFs; it follows when they are free"}}, nic.MTU
	}
	return []Step{change}, p.MTU
}

// planNumVFs returns how many VFs there will be, and whether they will be new.
func planNumVFs(at Target, p config.Profile, nic NIC, holders Holders) (count int, fresh bool, steps []Step) {
	have := nic.NumVFs
	if p.NumVFs == nil || *p.NumVFs == have {
		return have, false, nil
	}
	want := *p.NumVFs
	change := SetNumVFs{Target: at, From: have, To: want}
	if want > nic.TotalVFs {
		return have, false, []Step{Blocked{at, change.what(), fmt.Sprintf("the NIC supports at most %d (sriov_totalvfs)", nic.TotalVFs)}}
	}
	if have == 0 {
		return want, true, []Step{change}
	}
	// The kernel goes from one number to another only through 0 (LAB.md), which
	// takes every VF from whoever has it.
	if reason := whoHolds(nic.VFs, holders); reason != "" {
		return have, false, []Step{Blocked{at, change.what(),
			reason + ": the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)"}}
	}
	if r := nic.Refused; r != nil && r.NumVFs == want {
		return have, false, []Step{Blocked{at, change.what(), r.Cause}}
	}
	steps = []Step{SetNumVFs{Target: at, From: have}}
	if want > 0 {
		steps = append(steps, SetNumVFs{Target: at, To: want, Back: have})
	}
	return want, true, steps
}

// whoHolds lists the VFs that are held, and by whom.
func whoHolds(vfs []device.VF, holders Holders) string {
	var parts []string
	for _, vf := range vfs {
		if h, held := heldBy(vf, holders); held {
			parts = append(parts, fmt.Sprintf("VF %d is held by %s", vf.Index, h.Who))
		}
	}
	return strings.Join(parts, ", ")
}

// planNewVFs plans for VFs that are not there yet: what the profile asks of them
// is planned in full, and what they turn out to have is left as it is.
func planNewVFs(at Target, p config.Profile, nic NIC, count int) []Step {
	var steps []Step
	for i := range count {
		if g := groupOf(p, i); g != nil {
			steps = append(steps, planGroup(VFTarget{Target: at, VF: i, New: true}, p, *g, nic, device.VF{Index: i}, nil)...)
		}
	}
	return steps
}

func planVF(at Target, p config.Profile, g group, nic NIC, vf device.VF, holders Holders) []Step {
	t := VFTarget{Target: at, VF: vf.Index, Address: vf.Address}
	if h, held := heldBy(vf, holders); held {
		return planHeld(t, p, g, nic, vf, h)
	}
	var knobs *link.VFInfo
	if k, ok := nic.Knobs[vf.Index]; ok {
		knobs = &k
	}
	return planGroup(t, p, g, nic, vf, knobs)
}

// planHeld says in one step what is to follow when a VF is free. What a held VF has
// now doesn't count, where its holder gives it back as it was.
func planHeld(t VFTarget, p config.Profile, g group, nic NIC, vf device.VF, h Holder) []Step {
	var steps []Step
	var what []string
	vf, knobs := h.givesBack(g, nic, vf)
	for _, s := range planGroup(t, p, g, nic, vf, &knobs) {
		if _, blocked := s.(Blocked); blocked {
			steps = append(steps, s)
			continue
		}
		what = append(what, strings.TrimPrefix(s.String(), t.Name+": "+t.vf()+": "))
	}
	if len(what) > 0 {
		steps = append(steps, Blocked{t.Target, t.vf() + ": " + strings.Join(what, ", "), "it is held by " + h.Who + ": it follows when it is free"})
	}
	return steps
}

// givesBack is how a held VF will be when it is free. What isn't known is taken for
// what is wanted: there is nothing to report before it is seen.
func (h Holder) givesBack(g group, nic NIC, vf device.VF) (device.VF, link.VFInfo) {
	knobs := link.VFInfo{Index: vf.Index, VLANProto: vlanProto}
	set(&knobs.VLAN, g.VLAN)
	set(&knobs.QoS, g.VLANQoS)
	if now, known := nic.Knobs[vf.Index]; known && h.Returns == nil {
		knobs = now
	}
	knobs.Trust, knobs.SpoofCheck = cmp.Or(knobs.Trust, g.Trust), cmp.Or(knobs.SpoofCheck, g.SpoofCheck)
	if vf.Netdev == "" {
		vf.Netdev, vf.MTU = "elsewhere", g.MTU
	}
	if r := h.Returns; r != nil {
		set(&vf.MTU, r.MTU)
		set(&knobs.VLAN, r.VLAN)
		set(&knobs.QoS, r.QoS)
		set(&knobs.VLANProto, r.VLANProto)
		knobs.Trust, knobs.SpoofCheck = cmp.Or(r.Trust, knobs.Trust), cmp.Or(r.SpoofCheck, knobs.SpoofCheck)
	}
	return vf, knobs
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// planGroup compares one VF with its group. A knob that isn't known is planned.
func planGroup(t VFTarget, p config.Profile, g group, nic NIC, vf device.VF, knobs *link.VFInfo) []Step {
	var steps []Step
	if g.setsKnob() && nic.Netdev == "" {
		return []Step{Blocked{t.Target, fmt.Sprintf("VF %d: VLAN, trust and spoof check", t.VF), noNetdev(nic.PF)}}
	}
	if g.VLAN != nil {
		if s := planVLAN(t, g, knobs); s != nil {
			steps = append(steps, s)
		}
	}
	if g.Trust != nil && (knobs == nil || knobs.Trust == nil || *knobs.Trust != *g.Trust) {
		steps = append(steps, SetVFTrust{t, *g.Trust})
	}
	if g.SpoofCheck != nil && (knobs == nil || knobs.SpoofCheck == nil || *knobs.SpoofCheck != *g.SpoofCheck) {
		steps = append(steps, SetVFSpoofCheck{t, *g.SpoofCheck})
	}
	if driverDiffers(g, vf) && !(t.New && g.Driver == "") {
		steps = append(steps, BindDriver{t, vf.Driver, g.Driver})
	}
	return append(steps, planVFMTU(t, p, g, nic, vf)...)
}

func planVLAN(t VFTarget, g group, knobs *link.VFInfo) Step {
	s := SetVFVLAN{VFTarget: t, VLAN: *g.VLAN}
	if knobs != nil {
		s.From = &VLANTag{knobs.VLAN, knobs.QoS}
		if s.VLAN != 0 {
			s.QoS = knobs.QoS // not asked for: as it is
		}
	}
	if g.VLANQoS != nil {
		s.QoS = *g.VLANQoS
	}
	if knobs != nil && *s.From == (VLANTag{s.VLAN, s.QoS}) && (s.VLAN == 0 || knobs.VLANProto == vlanProto) {
		return nil
	}
	return s
}

func planVFMTU(t VFTarget, p config.Profile, g group, nic NIC, vf device.VF) []Step {
	switch {
	case g.MTU == 0 || g.MTU == vf.MTU && vf.Netdev != "":
		return nil
	case nic.Netdev != "" && g.MTU > nic.MTU && g.MTU <= p.MTU:
		return []Step{Blocked{t.Target, SetVFMTU{t, vf.MTU, g.MTU}.what(), fmt.Sprintf("the PF's MTU is %d: it follows that", nic.MTU)}}
	case nic.Netdev != "" && g.MTU > nic.MTU:
		return []Step{Blocked{t.Target, SetVFMTU{t, vf.MTU, g.MTU}.what(), fmt.Sprintf("the PF's MTU is %d: set spec.pf.mtu to %d or more", nic.MTU, g.MTU)}}
	}
	return []Step{SetVFMTU{t, vf.MTU, g.MTU}}
}

// driverDiffers reports whether a VF has another driver than its group declares.
// The kernel's own choice is any driver that makes a netdev.
func driverDiffers(g group, vf device.VF) bool {
	if g.Driver == "" {
		return vf.Driver == "" || vf.Userspace()
	}
	return vf.Driver != g.Driver
}

func noNetdev(pf device.PF) string {
	if pf.Driver == "" {
		return "the PF has no driver, hence no netdev to set it through"
	}
	return fmt.Sprintf("the PF has no netdev to set it through: its driver is %s", pf.Driver)
}
