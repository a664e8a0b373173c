package profile

import (
	"context"
	"errors"
	"time"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// rounds bounds the plans of one Converge. The second round makes changes that only the
// first one reveals, such as a driver for a VF that came up without one. The third checks
// that nothing is left.
const rounds = 3

// refusal keeps Plan from trying a number of VFs again for a while. Each try removes all
// VFs of the PF and makes them again.
type refusal struct {
	Refused
	until time.Time
}

const tryRefused = 5 * time.Minute

// Read reads the present state of the PFs. Unread has the PFs that could not be read, with
// the cause. Pfs has the last known state of these.
type Read func(context.Context) (pfs []device.PF, unread map[pci.Address]error, err error)

// Converge plans and applies until nothing is left to do. It does not try a failed step
// again in the same call. The status of a profile has the steps that the last plan still
// contains, with their causes. Only one call may run at a time.
func (a *Applier) Converge(ctx context.Context, profiles []config.Profile, read Read) []Status {
	failed := map[stepKey]Failure{}
	var last []NIC
	for round := 1; ; round++ {
		steps, nics, err := a.plan(ctx, profiles, read)
		if err != nil {
			return unreadable(statuses(profiles, last, nil), err)
		}
		last = nics
		todo := untried(steps, failed)
		if len(todo) == 0 || round == rounds {
			return statuses(profiles, nics, unfinished(steps, failed))
		}
		failures := a.Apply(ctx, todo)
		if ctx.Err() != nil {
			return statuses(profiles, nics, failures)
		}
		for _, f := range failures {
			if !a.refuse(f) {
				failed[f.key] = f
			}
		}
	}
}

func (a *Applier) plan(ctx context.Context, profiles []config.Profile, read Read) ([]Step, []NIC, error) {
	pfs, unread, err := read(ctx)
	if err != nil {
		return nil, nil, err
	}
	nics := make([]NIC, len(pfs))
	for i, pf := range pfs {
		nics[i].PF = pf
		if r, ok := a.refused[pf.Address]; ok && time.Now().Before(r.until) {
			nics[i].Refused = &r.Refused
		}
		if err := unread[pf.Address]; err != nil {
			nics[i].Unread = err.Error()
		}
	}
	nics = Gather(profiles, nics, a.Custody.Known(), a.Links)
	return Plan(profiles, nics), nics, nil
}

// refuse remembers a number of VFs that the PF has refused. The next plan reports it as
// blocked, and configures the existing VFs.
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

// untried returns the steps that are not blocked, have not failed, and do not depend on a
// failed step.
func untried(steps []Step, failed map[stepKey]Failure) []Step {
	tried := map[stepKey]bool{}
	for k, f := range failed {
		tried[k] = !errors.As(f, new(*inUseError)) // it may be free now
	}
	var out []Step
	for _, s := range steps {
		knob, onVF := s.(SetKnob)
		_, blocked := s.(Blocked)
		if !blocked && !tried[s.key()] && !(onVF && knob.dependsOn(tried)) {
			out = append(out, s)
		}
	}
	return out
}

// unfinished returns a failure for each step of the last plan. It leaves out the steps that
// depend on a failed one, because they have no cause of their own.
func unfinished(steps []Step, failed map[stepKey]Failure) []Failure {
	var out []Failure
	open := map[stepKey]bool{}
	for _, s := range untried(steps, failed) {
		open[s.key()] = true
	}
	for _, s := range steps {
		f, hasFailed := failed[s.key()]
		b, blocked := s.(Blocked)
		switch {
		case blocked:
			out = append(out, failure(s, errors.New(b.Reason)))
		case hasFailed:
			out = append(out, f)
		case open[s.key()]:
			out = append(out, failure(s, errors.New("it succeeded, but the next plan asks for it again")))
		}
	}
	return out
}
