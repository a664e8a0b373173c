package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
)

const (
	// retryFailed is how soon a profile that could not be applied is tried again if nothing has
	// changed.
	retryFailed = 30 * time.Second
	// review is how often profiles are compared with the node without any event.
	review = 5 * time.Minute
)

// keepApplied keeps the NICs as the profiles declare, until ctx ends. It applies them again
// after each change of the profiles or the devices, and as soon as a VF that they wait for is
// free.
func (n *node) keepApplied(ctx context.Context) error {
	if n.answered != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-n.answered:
		}
		n.read() // until now, the PFs were governed as the memory says
	}
	snapshots, cancel := n.inv.Subscribe()
	defer cancel()
	views, cancelViews := n.custody.Subscribe()
	defer cancelViews()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var seen *inventory.Snapshot // the snapshot that the profiles were last compared with
	var waitsFor []pci.Address
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.reapply:
		case <-timer.C:
		case s := <-snapshots:
			if seen == nil || !disturbs(seen, s) {
				continue // before the first comparison, the timer is due
			}
			reportRemoved(seen, s, n.removed)
		case v := <-views:
			if !anyFree(v, waitsFor) {
				continue
			}
		}
		seen = n.apply(ctx)
		waitsFor = n.waitsFor(seen)
		timer.Reset(n.next())
	}
}

// apply makes the NICs match the profiles, and returns the snapshot afterwards.
func (n *node) apply(ctx context.Context) *inventory.Snapshot {
	statuses := n.applier.Converge(ctx, n.currentModel().Profiles, n.readPFs)
	if ctx.Err() != nil {
		return n.inv.Snapshot() // stopped halfway: not a failure
	}
	n.govern()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range statuses {
		n.logStatus(s)
	}
	n.statuses = statuses
	kick(n.judged)
	return n.inv.Snapshot()
}

// govern records which profile governs each PF. The pools follow it: if another profile claims
// a PF with the same priority, the PF's VFs stay in their pool.
func (n *node) govern() {
	s := n.inv.Snapshot()
	if !s.Read() {
		return
	}
	profiles, pfs := n.currentModel().Profiles, n.follow(s.PFs)
	n.mu.Lock()
	defer n.mu.Unlock()
	governed := profile.Governed(profiles, pfs, n.governed)
	if !maps.Equal(n.governed, governed) {
		n.governed = governed
		kick(n.changed)
	}
}

func (n *node) readPFs(ctx context.Context) ([]device.PF, map[pci.Address]error, error) {
	s, err := n.inv.Refresh(ctx)
	n.applied.set(err)
	var unread *inventory.UnreadError
	switch {
	case err == nil:
		return n.follow(s.PFs), nil, nil
	case errors.As(err, &unread):
		return n.follow(s.PFs), unread.Causes, nil
	}
	return nil, nil, err
}

// logStatus logs a profile's status if it has changed.
func (n *node) logStatus(s profile.Status) {
	i := slices.IndexFunc(n.statuses, func(o profile.Status) bool { return o.Profile == s.Profile })
	if i >= 0 && describe(n.statuses[i]) == describe(s) {
		return
	}
	if s.Ready {
		n.log.Info("profile applied", "profile", s.Profile, "pfs", s.PFs)
		return
	}
	n.log.Error("profile not in effect", "profile", s.Profile, "error", describe(s))
}

func describe(s profile.Status) string {
	var lines []string
	for _, f := range s.Failures {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "; ")
}

// next returns how long to wait before applying again without any event.
func (n *node) next() time.Duration {
	if n.applied.get() != nil || !n.ready() {
		return retryFailed
	}
	return review
}

// ready reports whether all profiles are in effect.
func (n *node) ready() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !slices.ContainsFunc(n.statuses, func(s profile.Status) bool { return !s.Ready })
}

// hasApplied reports whether the profiles have been compared with the NICs since the start.
func (n *node) hasApplied() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.statuses != nil
}

// waitsFor lists the functions in use if some profile is not in effect: one of them may be in
// its way.
func (n *node) waitsFor(s *inventory.Snapshot) []pci.Address {
	if n.ready() {
		return nil
	}
	var used []pci.Address
	view := n.custody.View()
	note := func(fn pci.Address) {
		if inUse(view, fn) {
			used = append(used, fn)
		}
	}
	for _, pf := range s.PFs {
		note(pf.Address)
		for i := range pf.VFs {
			note(pf.VFs[i].Address)
		}
	}
	return used
}

func anyFree(v *custody.View, functions []pci.Address) bool {
	return slices.ContainsFunc(functions, func(fn pci.Address) bool { return !inUse(v, fn) })
}

// inUse ignores the users of a PF's VFs: each VF is asked about separately.
func inUse(v *custody.View, fn pci.Address) bool {
	return slices.ContainsFunc(v.ToChange(fn), func(u custody.Use) bool {
		return u.Function == fn || u.Kind == custody.Group
	})
}

// disturbs reports whether the devices changed so that a profile may no longer be in effect. A
// VF's netdev that leaves for a pod or comes back changes nothing: the holder restores the VF,
// and custody reports when it is free. Nor does a carrier.
func disturbs(old, new *inventory.Snapshot) bool {
	c := inventory.Diff(old, new)
	if len(c.Added)+len(c.Removed) > 0 {
		return true
	}
	return slices.ContainsFunc(c.Changed, func(addr pci.Address) bool {
		if oldPF, ok := old.PF(addr); ok {
			newPF, _ := new.PF(addr)
			return oldPF.Driver != newPF.Driver || oldPF.Netdev != newPF.Netdev || oldPF.MTU != newPF.MTU || oldPF.NumVFs != newPF.NumVFs
		}
		_, oldVF, _ := old.VF(addr)
		_, newVF, _ := new.VF(addr)
		return oldVF.Driver != newVF.Driver || (oldVF.Netdev == newVF.Netdev && oldVF.MTU != newVF.MTU)
	})
}
