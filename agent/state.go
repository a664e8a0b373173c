package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/state"
)

// outcome is the result of the last run of something that is repeated.
type outcome struct {
	mu  sync.Mutex // guards err
	err error
}

// set stores the result and reports whether it differs from the one before.
func (o *outcome) set(err error) (changed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed = fmt.Sprint(o.err) != fmt.Sprint(err)
	o.err = err
	return changed
}

func (o *outcome) get() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// problems lists what currently keeps parts of the agent from working, each until it is
// resolved.
func (p *parts) problems() []problem.Problem {
	out := slices.Concat(p.cluster.Problems(), p.policies.problem(), p.installation.problems())
	if err := p.node.applied.get(); err != nil {
		out = append(out, problem.Problem{Reason: problem.NICsUnread,
			Text: fmt.Sprintf("the profiles could not be compared with the NICs: %v (tried again after each change, and every %s)", err, retryFailed)})
	}
	if p.repairs != nil {
		out = append(out, p.repairs.Problems()...)
	}
	return out
}

func (p *parts) state(context.Context) (state.State, error) {
	return p.join(p.knobs(p.inv.Snapshot().PFs))
}

// join makes the state of the knowledge of all parts. The knobs are read by asking each PF about
// all of its VFs, and only people need them.
func (p *parts) join(knobs map[pci.Address]device.Settings) (state.State, error) {
	sandboxes, err := p.ledger.Sandboxes()
	if err != nil {
		return state.State{}, err
	}
	tombs, err := p.tombs.List()
	if err != nil {
		return state.State{}, err
	}
	n, advertised := p.node, p.plugin.State()
	devices, view := n.inv.Snapshot(), p.custody.View()
	repaired := 0
	if p.repairs != nil {
		repaired = int(p.repairs.Repaired())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	in := state.Input{
		Node: p.o.NodeName, Build: p.o.Build, Time: time.Now(), PFs: devices.PFs, Lone: devices.Lone, NICs: devices.NICs, Knobs: knobs,
		Pools: members(advertised.Pools), Sandboxes: sandboxes, Allocated: allocated(view, devices), Ungranted: view.HeldWithoutGrant(),
		Tombstones: len(tombs), Repaired: repaired, Problems: slices.Concat(p.problems(), n.problems, advertised.Problems),
	}
	in.Failing, in.Counters = p.attachFailures()
	for _, s := range n.statuses {
		in.Profiles = append(in.Profiles, state.ProfileReport{
			Name: s.Profile, Source: source(n.model, s.Profile), Ready: s.Ready, Message: describe(s),
		})
	}
	return state.Build(in), nil
}

func source(m config.Model, profile string) string {
	for _, p := range m.Profiles {
		if p.Name == profile {
			return p.Source
		}
	}
	return ""
}

// allocated lists the VFs that the kubelet has given to pods: those on record, and those that
// only the kubelet lists, after the ledger was lost.
func allocated(view *custody.View, devices *inventory.Snapshot) map[pci.Address]ledger.PodRef {
	out := map[pci.Address]ledger.PodRef{}
	note := func(vf pci.Address) {
		for _, u := range view.Uses(vf) {
			if u.Kind == custody.Allocation {
				out[vf] = cmp.Or(out[vf], u.Pod)
			}
		}
	}
	for i := range devices.PFs {
		for j := range devices.PFs[i].VFs {
			note(devices.PFs[i].VFs[j].Address)
		}
	}
	for i := range devices.Lone {
		note(devices.Lone[i].Address)
	}
	return out
}

// attachFailures lists the pods whose networks cannot be made.
func (p *parts) attachFailures() ([]state.FailingPod, state.Counters) {
	all, counts := p.keeper.Failures()
	var failing []state.FailingPod
	for _, f := range all {
		failing = append(failing, state.FailingPod(f))
	}
	return failing, state.Counters{Adds: counts.Succeeded, FailedAdds: counts.Failed, Problems: p.reports.reporter.Counts()}
}
