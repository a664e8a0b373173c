package profile

import (
	"context"
	"errors"
	"time"

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

// refusal keeps Plan from a number of VFs for a while: each try takes all VFs of the
// PF away, and makes them anew.
type refusal struct {
	Refused
	until time.Time
}

const tryRefused = 5 * time.Minute

// refuse remembers a failure that another try would not cure.
func (a *Applier) refuse(f Failure) bool {
	var r *refusedError
	if !errors.As(f, &r) {
		return false
	}
	if a.refused == nil {
		a.refused = map[pci.Address]refusal{}
	}
	a.refused[f.PF] = refusal{Refused{r.numVFs, f.Cause}, time.Now().Add(tryRefused)}
	return true
}

// Read reads the PFs as they are at this moment. unread says which of them could
// not be read, and why: pfs has these as they were last.
type Read func(context.Context) (pfs []device.PF, unread map[pci.Address]error, err error)

// Converge plans and applies until the plan is empty. Calls come one at a time. What a profile failed at is
// in its Status; where the PFs cannot be read at all, in that of each.
func (a *Applier) Converge(ctx context.Context, profiles []config.Profile, read Read) []Status {
	failures := map[pci.Address][]Failure{}
	var nics []NIC
	for round := range rounds {
		steps, now, err := a.plan(ctx, profiles, read)
		if err != nil {
			return unreadable(statuses(profiles, nics, failures), err)
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
			if a.refuse(f) && round == 0 {
				continue // the next plan reports it, and configures the VFs that are there
			}
			failures[f.PF] = append(failures[f.PF], f)
		}
	}
	return statuses(profiles, nics, failures)
}

func (a *Applier) plan(ctx context.Context, profiles []config.Profile, read Read) ([]Step, []NIC, error) {
	pfs, unread, err := read(ctx)
	if err != nil {
		return nil, nil, err
	}
	nics := Gather(profiles, pfs, a.held, a.Links)
	for i := range nics {
		if r, ok := a.refused[nics[i].Address]; ok && time.Now().Before(r.until) {
			nics[i].Refused = &r.Refused
		}
		if err := unread[nics[i].Address]; err != nil {
			nics[i].Unread = err.Error()
		}
	}
	return Plan(profiles, nics, a.held), nics, nil
}

// unreadable adds to each status that nothing is known.
func unreadable(all []Status, err error) []Status {
	for i := range all {
		all[i].Ready = false
		all[i].Failures = append(all[i].Failures, Failure{Profile: all[i].Profile, Step: "read the NICs", Cause: err.Error(), Err: err})
	}
	return all
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
