package profile

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

// Plan returns the steps, in order, that bring the NICs into the state that the profiles
// declare. The steps of one PF are adjacent. Steps of different PFs do not depend on each
// other. A change that must not be made is in the plan as Blocked.
func Plan(profiles []config.Profile, nics []NIC) []Step {
	var steps []Step
	for _, nic := range nics {
		p, conflict := governing(profiles, nic.PF)
		switch {
		case conflict != "":
			for _, c := range contenders(profiles, nic.PF) {
				steps = append(steps, targetOf(*c, nic.PF).blocked("apply the profile", conflict))
			}
		case p != nil:
			steps = append(steps, planNIC(*p, nic)...)
		}
	}
	return steps
}

func (t Target) blocked(what, reason string) Blocked { return Blocked{t, wholePF, what, reason} }

// planNIC orders the steps of one PF. Its MTU comes first, because a reset of the PF
// would disturb VFs, and because it bounds their MTUs. The PF is up before knobs are
// set: igb refuses some while it is down.
func planNIC(p config.Profile, nic NIC) []Step {
	at := targetOf(p, nic.PF)
	if nic.Unread != "" {
		return []Step{at.blocked("compare it with the profile", "it cannot be read: "+nic.Unread)}
	}
	var steps []Step
	steps, nic.MTU = planMTU(at, p, nic)
	count, fresh, more := planNumVFs(at, p, nic)
	steps = append(steps, more...)
	if count > 0 && nic.Netdev != "" && !nic.Up {
		steps = append(steps, SetUp{at})
	}
	if fresh {
		return append(steps, planNewVFs(at, p, nic, count)...)
	}
	for _, vf := range nic.VFs {
		if g := groupOf(p, vf.Index); g != nil {
			steps = append(steps, planExistingVF(at, p, g, nic, vf)...)
		}
	}
	return steps
}

// planMTU also returns the MTU that the PF will have. To change it, drivers take the link
// down or reset the PF, which would disturb pods that use a VF.
func planMTU(at Target, p config.Profile, nic NIC) ([]Step, int) {
	if p.MTU == 0 || p.MTU == nic.MTU {
		return nil, nic.MTU
	}
	if nic.Netdev == "" {
		return []Step{at.blocked(fmt.Sprintf("MTU %d", p.MTU), noNetdev(nic.PF))}, nic.MTU
	}
	change := SetPFMTU{at, nic.MTU, p.MTU, nic.VFs}
	if reason := pfInUse(at, nic.Uses[nic.Address]); reason != "" {
		return []Step{at.blocked(change.what(), reason)}, nic.MTU
	}
	if reason := vfsInUse(nic); reason != "" {
		return []Step{at.blocked(change.what(), reason+": a change of the PF's MTU can interrupt the link of its VFs; it is made when they are free")}, nic.MTU
	}
	return []Step{change}, p.MTU
}

// planNumVFs also returns how many VFs there will be, and whether they will be new.
func planNumVFs(at Target, p config.Profile, nic NIC) (count int, fresh bool, steps []Step) {
	have := nic.NumVFs
	if p.NumVFs == nil || *p.NumVFs == have {
		return have, false, nil
	}
	want := *p.NumVFs
	change := SetNumVFs{Target: at, From: have, To: want}
	if reason := numVFsBlocked(at, nic, want); reason != "" {
		return have, false, []Step{at.blocked(change.what(), reason)}
	}
	if have == 0 {
		return want, true, []Step{change}
	}
	steps = []Step{SetNumVFs{Target: at, From: have}}
	if want > 0 {
		steps = append(steps, SetNumVFs{Target: at, To: want, Back: have})
	}
	return want, true, steps
}

// numVFsBlocked returns why the number of VFs of a PF cannot be changed; empty: it can. The
// kernel changes the number only through 0, which removes every VF, even one in use.
func numVFsBlocked(at Target, nic NIC, want int) string {
	if want > nic.TotalVFs {
		return fmt.Sprintf("the NIC supports at most %d (sriov_totalvfs)", nic.TotalVFs)
	}
	if reason := pfInUse(at, nic.Uses[nic.Address]); reason != "" {
		return reason
	}
	if reason := vfsInUse(nic); reason != "" {
		return reason + ": the number of VFs changes only through 0, so free them first (delete these pods, or drain the node)"
	}
	if r := nic.Refused; r != nil && r.NumVFs == want {
		return r.Cause
	}
	return ""
}

// vfsInUse lists the VFs in use, with their users.
func vfsInUse(nic NIC) string {
	var parts []string
	for _, vf := range nic.VFs {
		if uses := nic.Uses[vf.Address]; len(uses) > 0 {
			parts = append(parts, fmt.Sprintf("VF %d is %s", vf.Index, usedBy(uses)))
		}
	}
	return strings.Join(parts, ", ")
}

func noNetdev(pf device.PF) string {
	if pf.Driver == "" {
		return "the PF has no driver, so it has no netdev through which this could be set"
	}
	return fmt.Sprintf("the PF has no netdev through which this could be set: its driver is %s", pf.Driver)
}
