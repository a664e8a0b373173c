package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// allocationGrace is how long a device has to be missing in the kubelet's account
// before its allocation is over. It covers the time between the kubelet's Allocate
// and the pod's showing up there, and a kubelet that has just restarted and does
// not list its pods yet.
const allocationGrace = time.Minute

// handedBack remembers when sandboxes gave devices back. The kubelet says nothing
// when a container's devices are its own again; a device that was attached, came
// back and is in no account of the kubelet's is free, and needs no grace.
type handedBack struct {
	mu sync.Mutex // guards at
	at map[pci.Address]time.Time
}

// missing remembers since when allocated devices are in no account. Only
// pruneAllocations uses it, one call at a time.
type missing struct {
	mu    sync.Mutex // held by pruneAllocations
	since map[pci.Address]time.Time
}

func (h *handedBack) note(devices []pci.Address, now time.Time) (any bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range devices {
		h.at[d] = now
	}
	return len(devices) > 0
}

// since reports whether the device came back after it was allocated.
func (h *handedBack) since(a ledger.Allocation) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	back, ok := h.at[a.Device]
	return ok && back.After(a.At)
}

// keep forgets all devices but those that are still waited for, and those that
// came back after the look at them began.
func (h *handedBack) keep(waiting map[pci.Address]bool, began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for device, back := range h.at {
		if !waiting[device] && !back.After(began) {
			delete(h.at, device)
		}
	}
}

func (h *handedBack) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.at) == 0
}

// pruneAllocations forgets allocations of devices that no pod has any more.
func (s *Server) pruneAllocations(ctx context.Context) error {
	s.missing.mu.Lock()
	defer s.missing.mu.Unlock()
	began := s.o.Now()
	allocations, err := s.o.Ledger.Allocations()
	if err != nil {
		return err
	}
	if len(allocations) == 0 {
		s.back.keep(nil, began)
		return nil
	}
	used, err := s.devicesInUse(ctx)
	if err != nil {
		return fmt.Errorf("comparing allocations with the kubelet's: %w", err)
	}
	var stale []ledger.Allocation
	gone := map[pci.Address]time.Time{}
	waiting := map[pci.Address]bool{}
	for _, a := range allocations {
		_, _, held := s.o.Ledger.Holder(a.Device)
		switch {
		case held:
		case used[a.Device.String()]:
			waiting[a.Device] = s.back.since(a) // the pod is going, or its sandbox is made anew
		case s.back.since(a):
			stale = append(stale, a)
		default:
			first, ok := s.missing.since[a.Device]
			if !ok || first.Before(a.At) { // allocated anew meanwhile
				first = began
			}
			gone[a.Device] = first
			if began.Sub(first) >= allocationGrace {
				stale = append(stale, a)
			}
		}
	}
	s.missing.since = gone
	if len(stale) > 0 {
		if err := s.o.Ledger.DeleteAllocations(stale); err != nil {
			return err
		}
	}
	s.back.keep(waiting, began)
	return nil
}

func (s *Server) devicesInUse(ctx context.Context) (map[string]bool, error) {
	inUse, err := s.o.Devices.InUse(ctx)
	used := map[string]bool{}
	for _, ids := range inUse {
		for _, id := range ids {
			used[id] = true
		}
	}
	return used, err
}

// pruneLoose is pruneAllocations where there is something to prune, perhaps: a
// device that came back, or an allocation without an attachment. On a quiet node,
// where sandboxes hold all allocated devices, the kubelet is not asked.
func (s *Server) pruneLoose(ctx context.Context) {
	allocations, err := s.o.Ledger.Allocations()
	loose := slices.ContainsFunc(allocations, func(a ledger.Allocation) bool {
		_, _, held := s.o.Ledger.Holder(a.Device)
		return !held
	})
	if err == nil && !loose && s.back.empty() {
		return
	}
	if err := errors.Join(err, s.pruneAllocations(ctx)); err != nil && ctx.Err() == nil {
		s.log.Warn("forgetting allocations of released devices; it will be retried", "error", err)
	}
}
