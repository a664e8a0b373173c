package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// reviewer looks after the links of running sandboxes. The kernel deletes a macvlan with its
// uplink, and nobody calls for it: a runtime runs no CHECK.
type reviewer struct {
	o        Options
	locks    *locks
	programs programs
	watched  *addressWatch
	log      *slog.Logger

	mu       sync.Mutex      // guards reported
	reported map[string]bool // sandbox and interface → an event says that it is lost
}

func newReviewer(o Options, l *locks, w *addressWatch) *reviewer {
	return &reviewer{o: o, locks: l, programs: programs{exec: o.HostExec, path: o.PluginPath}, watched: w, log: o.Log, reported: map[string]bool{}}
}

// round visits every running sandbox, one at a time. A visit asks the kernel for single
// links by name; nothing is listed.
func (r *reviewer) round(ctx context.Context) error {
	if r.o.Links == nil {
		return nil
	}
	var errs joined
	known := map[string]bool{}
	for _, e := range r.o.Ledger.Entries() {
		known[e.ID] = true
		if e.Releasing || e.EarlierBoot || ctx.Err() != nil || r.o.Kernel.gone(e.Netns) {
			continue
		}
		errs.add(named(e, r.visit(ctx, e.ID)))
	}
	r.forget(known)
	return errs.err()
}

// visit leaves a sandbox alone that a call works on.
func (r *reviewer) visit(ctx context.Context, id string) (err error) {
	unlock, unused := r.locks.tryLock(id)
	if !unused {
		return nil
	}
	defer unlock()
	defer Recovered(&err)
	s, ok, err := r.o.Ledger.Sandbox(id)
	if err != nil || !ok || s.Releasing || !complete(s) {
		return err
	}
	handles := r.o.Chains.Open(s.Netns)
	defer closeHandles(handles)
	var errs joined
	for i, a := range s.Attachments {
		if a.Hotplug == "" {
			errs.add(r.review(ctx, &s, i, handles))
		}
	}
	r.watched.addIfIPv6(s, nil)
	return errs.err()
}

// review makes a lost link again, if it can. The caller holds the sandbox's lock.
func (r *reviewer) review(ctx context.Context, s *ledger.Sandbox, i int, handles *attach.Handles) error {
	a := &s.Attachments[i]
	c := call(*s, *a, r.programs, handles)
	lost, err := r.o.Links.Lost(c, *a)
	if err != nil {
		return &Error{Network: a.Network, IfName: a.IfName, Step: "look for the interface", Err: err}
	}
	key := s.ID + " " + a.IfName
	if !lost {
		r.setReported(key, false)
		return nil
	}
	canRemake := attach.CanRemake(*a)
	if r.setReported(key, true) {
		r.log.Warn("interface lost", "sandbox", s.ID, "pod", s.Pod.String(), "network", a.Network, "interface", a.IfName)
		r.event(*s, "Warning", "InterfaceLost", fmt.Sprintf("interface %s of network %s is gone from the pod; %s", a.IfName, a.Network, remedy(canRemake)))
	}
	if !canRemake {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	if err := r.o.Links.Remake(ctx, c, a); err != nil {
		return &Error{Network: a.Network, IfName: a.IfName, Step: "make the interface again", Err: err}
	}
	r.setReported(key, false)
	r.log.Info("interface made again", "sandbox", s.ID, "pod", s.Pod.String(), "network", a.Network, "interface", a.IfName)
	r.event(*s, "Normal", "InterfaceRestored", fmt.Sprintf("interface %s of network %s has been made again, with its MAC, addresses and routes", a.IfName, a.Network))
	return r.o.Ledger.PutSandbox(*s)
}

func remedy(canRemake bool) string {
	if canRemake {
		return "it is made again as soon as its uplink is there (was the uplink deleted or made again?)"
	}
	return "a program had made it, so delete the pod to get it back (was its uplink deleted or made again?)"
}

func (r *reviewer) event(s ledger.Sandbox, eventType, reason, message string) {
	if s.Pod.Name != "" {
		r.o.Cluster.Event(s.Pod, eventType, reason, message)
	}
}

// setReported reports whether the value is new.
func (r *reviewer) setReported(key string, lost bool) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = r.reported[key] != lost
	if r.reported[key] = true; !lost {
		delete(r.reported, key)
	}
	return changed
}

// forget drops the reports of sandboxes that are gone.
func (r *reviewer) forget(known map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.reported {
		id, _, _ := strings.Cut(key, " ")
		if !known[id] {
			delete(r.reported, key)
		}
	}
}
