package state

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

// number is left out of the identity of a problem: a reason may count attempts.
var number = regexp.MustCompile(`\d+`)

// unhealthyProblems returns a problem for each reason: a profile that cannot be applied, or a
// missing module, concerns all VFs of its group.
func (b *builder) unhealthyProblems(pool PoolMembers) []problem.Problem {
	byReason := map[string][]pci.Address{}
	for address, reason := range pool.Unhealthy {
		if !pool.Incidental[address] {
			byReason[reason] = append(byReason[reason], address)
		}
	}
	var out []problem.Problem
	for reason, vfs := range byReason {
		slices.SortFunc(vfs, pci.Address.Compare)
		noun := "VF"
		if vf, _ := b.find(vfs[0]); vf.Whole {
			noun = "NIC"
		}
		which := noun + " " + vfs[0].String() + " is"
		if n := len(vfs); n > 1 {
			which = fmt.Sprintf("%d %ss (%s to %s) are", n, noun, vfs[0], vfs[n-1])
		}
		out = append(out, problem.Problem{Reason: problem.VFNotHandedOut, About: pool.Resource + ", " + number.ReplaceAllString(reason, "N"),
			Text: fmt.Sprintf("pool %s (%s): %s not handed out: %s", pool.Resource, pool.Source, which, reason)})
	}
	slices.SortFunc(out, func(x, y problem.Problem) int { return cmp.Compare(x.Text, y.Text) })
	return out
}

func releaseFailed(s ledger.Sandbox) problem.Problem {
	return problem.Problem{Reason: problem.ReleaseFailed, About: "sandbox " + s.ID,
		Text: fmt.Sprintf("pod %s: release of sandbox %s has failed %d times and will be tried again: %s",
			s.Pod, ledger.ShortID(s.ID), s.Attempts, s.Failure)}
}

// vfOfPodLost is the problem of a pod whose VF is elsewhere. ForPod is the text for the pod's
// author.
func vfOfPodLost(s ledger.Sandbox, a ledger.Attachment, m ledger.Member, how, forPod string) problem.Problem {
	const remedy = "delete the pod, so that it gets another"
	return problem.Problem{Reason: problem.VFOfPodLost, About: "VF " + m.Device.String(), Pod: &s.Pod,
		Text: fmt.Sprintf("pod %s, network %s, interface %s: its VF %s %s; %s",
			s.Pod, a.Network, a.IfName, m.Device, how, remedy),
		PodText: fmt.Sprintf("network %s, interface %s: the VF %s; %s", a.Network, a.IfName, forPod, remedy)}
}

// heldWithoutGrant is the problem of a VF that a running pod has, and that the kubelet may give
// to another pod.
func heldWithoutGrant(u custody.Use) problem.Problem {
	return problem.Problem{Reason: problem.VFHeldWithoutGrant, About: "VF " + u.Function.String(), Pod: &u.Pod,
		Text: fmt.Sprintf("VF %s: %s", u.Function, u.Reason()),
		PodText: fmt.Sprintf("interface %s: the kubelet no longer counts the interface's device as this pod's, and may give it to another pod; delete this pod, so that it gets another device",
			u.IfName)}
}

// findDownPFs reports PFs that pass no packets although pods or pools depend on them.
func (b *builder) findDownPFs() {
	for _, pf := range b.in.PFs {
		if pf.Netdev == "" || pf.Carrier {
			continue
		}
		if users := b.usersOf(pf); len(users) > 0 {
			b.problems = append(b.problems, problem.Problem{Reason: problem.PFNoCarrier, About: "PF " + pf.Address.String(),
				Text: fmt.Sprintf("PF %s (%s) has no carrier, so no packet passes for %s: look at `ip link show %s`, the cable and the switch port",
					pf.Netdev, pf.Address, strings.Join(users, ", "), pf.Netdev)})
		}
	}
}

// usersOf lists the pools of a PF's VFs, and the pods on it.
func (b *builder) usersOf(pf device.PF) []string {
	var pools, pods []string
	for _, vf := range pf.VFs {
		if known := b.vfs[vf.Address]; known.Pool != "" {
			pools = append(pools, "pool "+known.Pool)
		}
		if known := b.vfs[vf.Address]; known.Holder != nil {
			pods = append(pods, "pod "+known.Holder.Pod.String())
		}
	}
	for _, s := range b.in.Sandboxes {
		for _, a := range s.Attachments {
			if uplink := describeAttachment(a).Uplink; uplink != "" && a.Phase != ledger.Released && (uplink == pf.Netdev || slices.Contains(pf.AltNames, uplink)) {
				pods = append(pods, "pod "+s.Pod.String())
			}
		}
	}
	return append(few(pools, "pools"), few(pods, "pods")...)
}

// few returns the names in order, each once; of more than three, only their number.
func few(names []string, plural string) []string {
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 3 {
		return []string{fmt.Sprintf("%d %s", len(names), plural)}
	}
	return names
}
