package profile

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

// Applier changes NICs. All exported fields except Quiet, Wait and Log are required.
type Applier struct {
	FS      FS
	Links   Links
	Custody Custody
	// LoadModule loads a kernel module on the host, for a driver that isn't there yet.
	LoadModule func(ctx context.Context, module string) error
	// Quiet is called for a PF that is down, right before it is brought up for its VFs.
	Quiet func(netdev string) error
	// Wait bounds how long the netdevs of a PF's VFs may take to appear; 0: 15 seconds.
	Wait time.Duration
	Log  *slog.Logger

	refused map[pci.Address]refusal // used only by Converge, which runs once at a time
}

// FS is the part of sysfs.FS that Applier needs.
type FS interface {
	SetNumVFs(pf pci.Address, n int) error
	VFAddress(pf pci.Address, index int) (pci.Address, error)
	BindDriver(addr pci.Address, driver string) error
	Driver(addr pci.Address) (string, error)
	Netdevs(addr pci.Address) ([]string, error)
	IOMMUGroup(addr pci.Address) int // -1: none
}

// Links is the part of *link.Handle that Applier needs.
type Links interface {
	Reader
	ByName(name string) (link.Link, error)
	SetUp(index int) error
	SetMTU(index, mtu int) error
	SetVF(pfIndex, vf int, s device.Settings) error // sets all values in one message
}

// Apply takes the steps of all PFs concurrently. After a failure it skips only the steps
// that depend on the failed one. It reports blocked steps as failures. It reads every
// change back.
func (a *Applier) Apply(ctx context.Context, steps []Step) []Failure {
	perPF := byPF(steps)
	failures := make([][]Failure, len(perPF))
	var wg sync.WaitGroup
	for i, steps := range perPF {
		wg.Go(func() { failures[i] = a.applyPF(ctx, steps) })
	}
	wg.Wait()
	var all []Failure
	for _, f := range failures {
		all = append(all, f...)
	}
	return all
}

// byPF splits a plan into one plan for each PF.
func byPF(steps []Step) [][]Step {
	var out [][]Step
	for i, s := range steps {
		if i == 0 || s.On().PF != steps[i-1].On().PF {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

// applyPF takes the PF's own steps one by one, then those of its VFs as one batch. It stops
// if the number of VFs cannot be set, or if ctx ends.
func (a *Applier) applyPF(ctx context.Context, steps []Step) []Failure {
	var failures []Failure
	var knobs []SetKnob
	failed := map[stepKey]bool{}
	endPF := a.reserveNew(ctx, steps)
	defer endPF()
	for _, s := range steps {
		switch s := s.(type) {
		case SetKnob:
			knobs = append(knobs, s)
		case Blocked:
			failures = append(failures, failure(s, errors.New(s.Reason)))
		case pfStep:
			err := ctx.Err()
			if err == nil {
				err = s.apply(ctx, a)
			}
			if err == nil {
				a.stepDone(s)
				continue
			}
			failures = append(failures, failure(s, err))
			failed[s.key()] = true
			if failed[s.On().stepOn(stepNumVFs)] || ctx.Err() != nil {
				return failures
			}
		}
	}
	return append(failures, a.setKnobs(ctx, independent(knobs, failed), endPF)...)
}

// reserveNew reserves the VFs that the steps will make, until each is reserved by itself.
// So nobody gets a new VF before it is configured.
func (a *Applier) reserveNew(ctx context.Context, steps []Step) (end func()) {
	makes := func(s Step) bool { n, ok := s.(SetNumVFs); return ok && n.To > 0 }
	if !slices.ContainsFunc(steps, makes) {
		return func() {}
	}
	end, err := a.Custody.Change(ctx, steps[0].On().PF)
	if err != nil { // ctx has ended: no step is taken
		return func() {}
	}
	return sync.OnceFunc(end)
}

// independent leaves out steps that need a failed one.
func independent(steps []SetKnob, failed map[stepKey]bool) []SetKnob {
	var out []SetKnob
	for _, s := range steps {
		if !s.dependsOn(failed) {
			out = append(out, s)
		}
	}
	return out
}

func (a *Applier) stepDone(s Step) {
	a.log().Info("profile step done", "profile", s.On().Profile, "step", s.String())
}

func (a *Applier) log() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}
