package profile

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// Status is how far a profile is in force on this node.
type Status struct {
	Profile  string        `json:"profile"`
	Ready    bool          `json:"ready"`
	PFs      []pci.Address `json:"pfs,omitempty"` // that the profile governs here
	Failures []Failure     `json:"failures,omitempty"`
}

// rounds bounds Converge: one to change, one for what shows only then (a VF that
// came up without driver), one to see that nothing is left.
const rounds = 3

// Converge plans and applies until the plan is empty. read returns the PFs as
// they are at that moment. The error is of reading; what a profile failed at is
// in its Status.
func (a *Applier) Converge(ctx context.Context, profiles []config.Profile, read func(context.Context) ([]device.PF, error)) ([]Status, error) {
	failures := map[pci.Address][]Failure{}
	var nics []NIC
	for round := range rounds {
		steps, now, err := a.plan(ctx, profiles, read)
		if err != nil {
			return nil, err
		}
		nics = now
		steps = without(steps, failures)
		if len(steps) == 0 {
			break
		}
		if round == rounds-1 {
			for _, steps := range byPF(steps) {
				t := steps[0].On()
				failures[t.PF] = append(failures[t.PF], failure(steps[0], errors.New("it was done without an error, and is still to be done")))
			}
			break
		}
		for _, f := range a.Apply(ctx, steps) {
			failures[f.PF] = append(failures[f.PF], f)
		}
	}
	return statuses(profiles, nics, failures), nil
}

func (a *Applier) plan(ctx context.Context, profiles []config.Profile, read func(context.Context) ([]device.PF, error)) ([]Step, []NIC, error) {
	pfs, err := read(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the NICs: %w", err)
	}
	nics, err := Gather(profiles, pfs, a.Holders, a.Links)
	if err != nil {
		return nil, nil, err
	}
	return Plan(profiles, nics, a.Holders), nics, nil
}

// without leaves out the PFs that have failed already: they are tried anew at
// the next call, not in a loop.
func without(steps []Step, failed map[pci.Address][]Failure) []Step {
	var out []Step
	for _, s := range steps {
		if len(failed[s.On().PF]) == 0 {
			out = append(out, s)
		}
	}
	return out
}

func statuses(profiles []config.Profile, nics []NIC, failures map[pci.Address][]Failure) []Status {
	out := make([]Status, 0, len(profiles))
	for _, p := range profiles {
		s := Status{Profile: p.Name}
		for _, nic := range nics {
			if g, _ := governing(profiles, nic.PF); g != nil && g.Name == p.Name {
				s.PFs = append(s.PFs, nic.Address)
			}
			for _, f := range failures[nic.Address] {
				if f.Profile == p.Name {
					s.Failures = append(s.Failures, f)
				}
			}
		}
		s.Ready = len(s.Failures) == 0
		out = append(out, s)
	}
	return out
}
