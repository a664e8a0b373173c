package repair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

const (
	// review is how often all VFs are looked at without an event.
	review = 5 * time.Minute
	// lookAgain is the pause before the next look while a stray is free but not repaired.
	lookAgain = 15 * time.Second
	// newLedgerTime is how long after the start the kubelet's grants are evidence, if the
	// ledger was new. By then the pools are known, and later grants are on record.
	newLedgerTime = time.Minute
)

// Custody says who has a VF; *custody.Oracle is one.
type Custody interface {
	View() *custody.View
	Confirm(ctx context.Context, fns ...pci.Address) (*custody.View, error)
	Subscribe() (views <-chan *custody.View, cancel func())
	WaitRead(ctx context.Context) bool
}

// FS is the part of sysfs.FS that repairs need.
type FS interface {
	BindDriver(addr pci.Address, driver string) error
	Rebind(addr pci.Address) error
	Netdevs(addr pci.Address) ([]string, error)
}

// Links is the part of *link.Handle that repairs need.
type Links interface {
	ByName(name string) (link.Link, error)
	Rename(index int, name string) error
	SetMTU(index, mtu int) error
	VFs(pfIndex int) (map[int]device.Settings, error)
	SetVF(pfIndex, vf int, s device.Settings) error
}

// Options are the needs of a Repairer. Wanted, Path and NewLedger may be empty.
type Options struct {
	Custody Custody
	FS      FS
	Links   Links
	Wanted  Wanted
	// Withhold keeps everybody else from a VF until end is called.
	Withhold func(ctx context.Context, vf pci.Address) (end func(), err error)
	// Event writes an event about the node; eventType is Normal or Warning.
	Event     func(eventType, reason, message string)
	Path      string // the file with the memory; empty: nothing is kept
	Boot      string // the kernel's boot id
	NewLedger bool   // the ledger had no record when the agent started
	// Files are the VFs that CNI device-info files named when the agent started.
	Files map[pci.Address]bool
	Now   func() time.Time
	Log   *slog.Logger
}

// Repairer repairs the strays of one node.
type Repairer struct {
	o        Options
	started  time.Time
	repaired atomic.Int64

	// Used by Run only.
	memory memory
	watch  watch
	retry  map[pci.Address]time.Time // of VFs whose repair has failed
	files  map[pci.Address]bool      // those of Options.Files that are not repaired yet

	mu       sync.Mutex // guards what follows
	failures map[pci.Address]string
	recorded []pci.Address // told by Recorded, and not seen by Run yet
}

// New makes a Repairer, with the memory of an earlier agent.
func New(o Options) *Repairer {
	m, err := openMemory(o.Path, o.Boot)
	if err != nil {
		o.Log.Warn("the memory of clean VFs is unreadable; starting without it", "error", err)
	}
	files := map[pci.Address]bool{}
	maps.Copy(files, o.Files)
	return &Repairer{o: o, started: o.Now(), memory: m, files: files, retry: map[pci.Address]time.Time{}, watch: newWatch(m.Strays), failures: map[pci.Address]string{}}
}

// Recorded is called when a record takes VFs over that no record named. Its release restores
// them, so they are no strays any more. It must be called before they are free.
func (r *Repairer) Recorded(vfs ...pci.Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recorded = append(r.recorded, vfs...)
}

// forgetRecorded drops the evidence about VFs that a record names. It reports whether there
// was any.
func (r *Repairer) forgetRecorded() (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, vf := range r.recorded {
		_, stray := r.watch.strays[vf]
		changed = changed || stray
		delete(r.watch.strays, vf)
		delete(r.watch.away, vf)
		delete(r.files, vf)
	}
	r.recorded = nil
	return changed
}

// Repaired counts the repairs since the start.
func (r *Repairer) Repaired() int64 { return r.repaired.Load() }

// Problems lists the VFs that could not be repaired, each until it is.
func (r *Repairer) Problems() []problem.Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []problem.Problem
	for _, vf := range slices.SortedFunc(maps.Keys(r.failures), pci.Address.Compare) {
		out = append(out, problem.Problem{Reason: problem.VFNotRepaired, About: "VF " + vf.String(),
			Text: fmt.Sprintf("VF %s may still have settings of an earlier pod: %s (tried again every %s)", vf, r.failures[vf], lookAgain)})
	}
	return out
}

// Run repairs until ctx ends: at the start, when a VF comes back, and in each review.
func (r *Repairer) Run(ctx context.Context) error {
	if !r.o.Custody.WaitRead(ctx) {
		return nil
	}
	views, cancel := r.o.Custody.Subscribe()
	defer cancel()
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	reviewed := r.o.Now()
	r.look(ctx, r.o.Custody.View(), true)
	for {
		select {
		case <-ctx.Done():
			return nil
		case v, ok := <-views:
			if !ok {
				return nil
			}
			if changed, due := r.look(ctx, v, false); changed || due {
				timer.Reset(lookAgain)
			}
		case <-timer.C:
			all := r.o.Now().Sub(reviewed) >= review
			if all {
				reviewed = r.o.Now()
			}
			if _, due := r.look(ctx, r.o.Custody.View(), all); due {
				timer.Reset(lookAgain)
			} else {
				timer.Reset(review)
			}
		}
	}
}

// look follows the evidence and repairs the strays that are free. due reports that the next
// look must be soon: a stray is free and not repaired, or may be one.
func (r *Repairer) look(ctx context.Context, v *custody.View, all bool) (changed, due bool) {
	if !v.Devices().Read() {
		return false, false
	}
	newLedger := r.o.NewLedger && r.o.Now().Sub(r.started) < newLedgerTime
	changed = r.watch.observe(Evidence{View: v, Wanted: r.o.Wanted, NewLedger: newLedger, Files: r.files, Now: r.o.Now()})
	changed = r.forgetRecorded() || changed
	noted := all && r.noteClean(v) // before the repairs, which follow the clean VFs of a PF
	for _, o := range Find(Facts{View: v, Strays: r.watch.strays, Free: r.memory.Free, Wanted: r.o.Wanted, Now: r.o.Now()}) {
		// A repair that fails has changed the View as well, which causes another look.
		if !r.o.Now().Before(r.retry[o.VF.Address]) && r.repair(ctx, o) {
			changed = true
		}
	}
	r.forgetFailures()
	if changed || noted {
		if err := r.memory.save(r.o.Path); err != nil {
			r.o.Log.Warn("writing the memory of clean VFs failed; a repair after a restart may use defaults", "error", err)
		}
	}
	due = newLedger || len(r.watch.away) > 0
	for fn := range r.watch.strays {
		due = due || free(v, fn)
	}
	return changed, due
}

// repair reports whether the stray is one no more.
func (r *Repairer) repair(ctx context.Context, o Orphan) bool {
	err := r.apply(ctx, o)
	if err != nil {
		r.retry[o.VF.Address] = r.o.Now().Add(lookAgain)
	}
	switch {
	case errors.Is(err, errInUse), ctx.Err() != nil:
		return false
	case err != nil:
		r.fail(o, err)
		return false
	}
	delete(r.watch.strays, o.VF.Address)
	delete(r.watch.holders, o.VF.Address)
	delete(r.files, o.VF.Address)
	delete(r.retry, o.VF.Address)
	r.repaired.Add(1)
	r.o.Log.Info("VF repaired", "vf", o.VF.Address, "repair", o.String())
	r.o.Event("Warning", "VFRepaired", fmt.Sprintf("VF %s: %s; it was restored without a record", o.VF.Address, o.Evidence))
	return true
}

func (r *Repairer) fail(o Orphan, err error) {
	r.mu.Lock()
	text := fmt.Sprintf("%s; the repair failed: %v", o.Evidence, err)
	before := r.failures[o.VF.Address]
	r.failures[o.VF.Address] = text
	r.mu.Unlock()
	if before == text {
		return
	}
	r.o.Log.Error("repairing a VF failed; trying again", "vf", o.VF.Address, "repair", o.String(), "error", err)
}

// forgetFailures drops the failures of VFs that need no repair any more.
func (r *Repairer) forgetFailures() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for fn := range r.failures {
		if _, stray := r.watch.strays[fn]; !stray {
			delete(r.failures, fn)
		}
	}
}

// noteClean remembers the VFs that nobody has and that are no strays. It asks each PF once.
func (r *Repairer) noteClean(v *custody.View) (changed bool) {
	atPF := map[pci.Address]map[int]device.Settings{}
	for pf, vf := range functions(v.Devices()) {
		_, stray := r.watch.strays[vf.Address]
		_, returning := r.watch.holders[vf.Address]
		if stray || returning || vf.Driver == "" || !free(v, vf.Address) {
			continue
		}
		if _, asked := atPF[pf.Address]; !asked && pf.Netdev != "" {
			settings, err := r.o.Links.VFs(pf.Ifindex)
			if err != nil && !errors.Is(err, link.ErrUnsupported) {
				r.o.Log.Debug("reading VF settings failed", "pf", pf.Netdev, "error", err)
			}
			atPF[pf.Address] = settings
		}
		changed = r.memory.note(vf, atPF[pf.Address][vf.Index]) || changed
	}
	for fn := range r.memory.Free {
		if _, _, there := v.Devices().VF(fn); !there {
			delete(r.memory.Free, fn)
			changed = true
		}
	}
	return changed
}
