package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/config"
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
func (p *parts) problems() []string {
	out := slices.Concat(p.cluster.Problems(), p.policies.problem(), p.installation.problems())
	if err := p.node.applied.get(); err != nil {
		out = append(out, fmt.Sprintf("the profiles could not be compared with the NICs: %v (tried again after each change, and every %s)", err, retryFailed))
	}
	if p.repairs != nil {
		out = append(out, p.repairs.Problems()...)
	}
	return out
}

func (p *parts) state(context.Context) (state.State, error) {
	sandboxes, err := p.ledger.Sandboxes()
	if err != nil {
		return state.State{}, err
	}
	allocations, err := p.ledger.Allocations()
	if err != nil {
		return state.State{}, err
	}
	tombs, err := p.tombs.List()
	if err != nil {
		return state.State{}, err
	}
	n, advertised := p.node, p.plugin.State()
	devices := n.inv.Snapshot()
	knobs := p.knobs(devices.PFs)
	repaired := 0
	if p.repairs != nil {
		repaired = int(p.repairs.Repaired())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	in := state.Input{
		Node: p.o.NodeName, Build: p.o.Build, Time: time.Now(), PFs: devices.PFs, Lone: devices.Lone, NICs: devices.NICs, Knobs: knobs,
		Pools: members(advertised.Pools), Sandboxes: sandboxes, Allocations: allocations,
		Tombstones: len(tombs), Repaired: repaired, Problems: slices.Concat(p.problems(), n.problems, advertised.Problems),
	}
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
