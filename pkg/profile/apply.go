package profile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Applier changes NICs. All fields but Withhold, Wait and Log are needed.
type Applier struct {
	FS      FS
	Links   Links
	Holders Holders
	// Withhold keeps VFs from being handed out until end is called, and asks check of
	// each once that is so; nil: nobody hands VFs out.
	Withhold func(vfs []pci.Address, check func(pci.Address) error) (end func(), err error)
	// LoadModule loads a kernel module on the host, for a driver that isn't there yet.
	LoadModule func(ctx context.Context, module string) error
	// Wait bounds how long a VF's netdev may take to appear; 0: 15 seconds.
	Wait time.Duration
	Log  *slog.Logger

	refused map[pci.Address]refusal // Converge's memory, which takes one call at a time
}

// FS is what Applier needs of sysfs.FS.
type FS interface {
	SetNumVFs(pf pci.Address, n int) error
	VFAddress(pf pci.Address, index int) (pci.Address, error)
	BindDriver(addr pci.Address, driver string) error
	VFIOOpen(addr pci.Address) bool
	Driver(addr pci.Address) (string, error)
	Netdevs(addr pci.Address) ([]string, error)
}

// Links is what Applier needs of *link.Handle.
type Links interface {
	Reader
	VF(pfIndex, vf int) (link.VFInfo, error)
	ByName(name string) (link.Link, error)
	Addresses(index int) ([]link.Address, error)
	SetUp(index int) error
	SetMTU(index, mtu int) error
	SetVFVLAN(pfIndex, vf, vlan, qos int, proto string) error
	SetVFTrust(pfIndex, vf int, on bool) error
	SetVFSpoofCheck(pfIndex, vf int, on bool) error
}

// Failure is what keeps a PF from being as its profile declares.
type Failure struct {
	Profile string      `json:"profile"`
	PF      pci.Address `json:"pf"`
	Name    string      `json:"name"`
	Step    string      `json:"step"`
	Cause   string      `json:"cause"`
	Err     error       `json:"-"`
}

// Error is the failure as one line.
func (f Failure) Error() string { return fmt.Sprintf("%s: %s", f.Step, f.Cause) }

// Unwrap keeps the errno within reach of errors.Is.
func (f Failure) Unwrap() error { return f.Err }

// Apply takes the steps, those of different PFs at once. A PF stops at its first
// failure, and the others go on. What is Blocked, or finds its VF in use, is
// reported and hinders nothing else of its PF but that VF. Every change is read back.
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

// byPF cuts a plan where the PF changes.
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

func (a *Applier) applyPF(ctx context.Context, steps []Step) []Failure {
	var failures []Failure
	inUse := map[int]bool{} // VFs that are left alone
	for _, s := range steps {
		vf, onVF := s.(vfStep)
		if onVF && inUse[vf.index()] {
			continue
		}
		err := ctx.Err()
		if err == nil {
			err = s.apply(ctx, a)
		}
		if err == nil {
			a.log().Info("profile step done", "profile", s.On().Profile, "step", s.String())
			continue
		}
		failures = append(failures, failure(s, err))
		if onVF && errors.As(err, new(*inUseError)) {
			inUse[vf.index()] = true
			continue
		}
		if _, blocked := s.(Blocked); !blocked {
			break
		}
	}
	return failures
}

// held adds to the records what VFIO tells: a process that has a VF open without
// any record would make the kernel wait for it, with the device locked.
func (a *Applier) held(vf pci.Address) (Holder, bool) {
	if h, held := a.Holders(vf); held {
		return h, true
	}
	if a.FS.VFIOOpen(vf) {
		return Holder{Who: "a process that has it open through VFIO, of which Fairlead has no record"}, true
	}
	return Holder{}, false
}

// inUseError keeps a step from a VF that somebody uses. The other VFs of its PF
// don't depend on it.
type inUseError struct{ reason string }

func (e *inUseError) Error() string { return e.reason }

func inUse(format string, args ...any) error { return &inUseError{fmt.Sprintf(format, args...)} }

func failure(s Step, err error) Failure {
	t := s.On()
	f := Failure{Profile: t.Profile, PF: t.PF, Name: t.Name, Step: s.String(), Cause: err.Error(), Err: err}
	if b, ok := s.(Blocked); ok {
		f.Step = fmt.Sprintf("%s: %s", b.Name, b.What)
	} else if t.Driver != "" {
		f.Cause = fmt.Sprintf("%v (PF driver %s)", err, t.Driver)
	}
	return f
}

func (a *Applier) log() *slog.Logger {
	if a.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Log
}

func (s Blocked) apply(context.Context, *Applier) error { return errors.New(s.Reason) }

func (s SetNumVFs) apply(ctx context.Context, a *Applier) error {
	if s.To < s.From {
		end, err := a.spareAll(s.PF, s.From)
		if err != nil {
			return err
		}
		defer end()
	}
	err := until(ctx, func() error { return a.FS.SetNumVFs(s.PF, s.To) })
	if err == nil || s.Back == 0 {
		return err
	}
	// A driver that made some of them has to drop these first.
	if ctx.Err() != nil {
		return err // it may yet succeed
	}
	undo := a.FS.SetNumVFs(s.PF, 0)
	if undo == nil {
		undo = a.FS.SetNumVFs(s.PF, s.Back)
	}
	if undo != nil {
		return fmt.Errorf("%w; and the %d VFs that were there could not be made again: %w", err, s.Back, undo)
	}
	return &refusedError{s.To, s.Back, err}
}

// refusedError: another number of VFs failed, and the one before is there again, of
// VFs that are new.
type refusedError struct {
	numVFs, back int
	cause        error
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%v; the %d VFs that were there are made again", e.cause, e.back)
}

func (e *refusedError) Unwrap() error { return e.cause }

// spareAll is spare for the first n VFs of a PF, none of which is handed out until
// end is called.
func (a *Applier) spareAll(pf pci.Address, n int) (end func(), err error) {
	var vfs []pci.Address
	indexes := map[pci.Address]int{}
	for i := range n {
		addr, err := a.FS.VFAddress(pf, i)
		if errors.Is(err, errNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		vfs, indexes[addr] = append(vfs, addr), i
	}
	return a.withhold(vfs, func(vf pci.Address) error { return a.spare(vf, indexes[vf]) })
}

func (a *Applier) withhold(vfs []pci.Address, check func(pci.Address) error) (end func(), err error) {
	if a.Withhold != nil {
		return a.Withhold(vfs, check)
	}
	for _, vf := range vfs {
		if err := check(vf); err != nil {
			return nil, err
		}
	}
	return func() {}, nil
}

// spare refuses to take a VF from a user that it got since the plan was made, or
// that no record tells of: the host itself.
func (a *Applier) spare(addr pci.Address, index int) error {
	if h, held := a.held(addr); held {
		return inUse("VF %d is held by %s since a moment ago: free it first", index, h.Who)
	}
	netdevs, err := a.FS.Netdevs(addr)
	if err != nil {
		return err
	}
	for _, name := range netdevs {
		if err := a.unused(name); err != nil {
			return fmt.Errorf("VF %d: %w", index, err)
		}
	}
	return nil
}

// unused tells a netdev that the host has put to use from one that merely exists.
func (a *Applier) unused(netdev string) error {
	l, err := a.Links.ByName(netdev)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Master != 0 {
		return inUse("the host uses its netdev %s as a port of a bridge or bond: take it out first", netdev)
	}
	addresses, err := a.Links.Addresses(l.Index)
	if err != nil {
		return err
	}
	for _, addr := range addresses {
		if addr.InUse() {
			return inUse("the host uses its netdev %s with the address %s: take the address away first", netdev, addr.IPNet.String())
		}
	}
	return nil
}

func (s BindDriver) apply(ctx context.Context, a *Applier) error {
	addr, err := a.address(s.VFTarget)
	if err != nil {
		return err
	}
	end, err := a.withhold([]pci.Address{addr}, func(vf pci.Address) error { return a.spare(vf, s.VF) })
	if err != nil {
		return err
	}
	defer end()
	err = until(ctx, func() error { return a.FS.BindDriver(addr, s.To) })
	if !errors.Is(err, sysfs.ErrDriverNotLoaded) {
		return err
	}
	if loadErr := a.LoadModule(ctx, s.To); loadErr != nil {
		return fmt.Errorf("load the kernel module %s: %w", s.To, loadErr)
	}
	return until(ctx, func() error { return a.FS.BindDriver(addr, s.To) })
}

// until stops waiting for a change when ctx ends. What it began goes on.
func until(ctx context.Context, change func() error) error {
	done := make(chan error, 1)
	go func() { done <- change() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Applier) address(t VFTarget) (pci.Address, error) {
	if !t.Address.IsZero() {
		return t.Address, nil
	}
	return a.FS.VFAddress(t.PF, t.VF)
}
