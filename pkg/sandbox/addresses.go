package sandbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/retry"
)

const (
	// duplicateDetection is how long the kernel asks the network for an IPv6 address: one
	// question after up to a second, and a second for the answer (RFC 4862, 5.4).
	duplicateDetection = 3 * time.Second
	maxAddressPause    = time.Minute
)

// addressWatch looks at the IPv6 addresses of sandboxes again, after their ADD. Until an
// address holds that another host has, it is removed and added again: mostly an earlier pod
// with the same address is just ending.
type addressWatch struct {
	o     Options
	locks *locks
	wake  signal

	mu  sync.Mutex // guards due
	due map[string]addressLook
}

// addressLook is the next look at a sandbox.
type addressLook struct {
	at        time.Time
	looks     int  // so far
	duplicate bool // an address was another host's
}

func newAddressWatch(o Options, l *locks) *addressWatch {
	return &addressWatch{o: o, locks: l, wake: newSignal(), due: map[string]addressLook{}}
}

// addIfIPv6 has a sandbox looked at, unless that is due already. results are those of its
// attachments; nil: they are read from the record.
func (w *addressWatch) addIfIPv6(s ledger.Sandbox, results []*types100.Result) {
	if w.o.Links == nil {
		return
	}
	for i, a := range s.Attachments {
		if program(a) {
			continue // its own plugin looks after its addresses
		}
		var result *types100.Result
		if results != nil {
			result = results[i]
		} else {
			result, _ = recordedResult(a) // whoever uses it reports the error
		}
		if attach.HasIPv6(result) {
			w.add(s.ID)
			return
		}
	}
}

func (w *addressWatch) add(id string) {
	w.mu.Lock()
	if _, known := w.due[id]; !known {
		w.due[id] = addressLook{at: w.o.Now().Add(duplicateDetection)}
	}
	w.mu.Unlock()
	w.wake.kick()
}

// loop looks until ctx ends.
func (w *addressWatch) loop(ctx context.Context) { loop(ctx, w.wake, w.round) }

// round looks at the sandboxes that are due. It returns when the next one is.
func (w *addressWatch) round(ctx context.Context) (next time.Duration, again bool) {
	w.mu.Lock()
	var ids []string
	for id, look := range w.due {
		if !w.o.Now().Before(look.at) {
			ids = append(ids, id)
		}
	}
	w.mu.Unlock()
	for _, id := range ids {
		if ctx.Err() == nil {
			w.look(id)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, look := range w.due {
		if pause := look.at.Sub(w.o.Now()); !again || pause < next {
			next, again = pause, true
		}
	}
	return next, again
}

// look looks at one sandbox, and sets the time of the next look.
func (w *addressWatch) look(id string) {
	unlock, unused := w.locks.tryLock(id)
	if !unused {
		w.later(id, false)
		return
	}
	defer unlock()
	s, ok, err := w.o.Ledger.Sandbox(id)
	if err != nil || !ok || s.Releasing || !complete(s) || w.o.Kernel.gone(s.Netns) {
		w.end(id)
		return
	}
	duplicates, unsettled := w.mend(s)
	before := w.wasDuplicate(id)
	switch {
	case len(duplicates) > 0:
		if !before && s.Pod.Name != "" {
			w.o.Cluster.Event(s.Pod, "Warning", "AddressInUse", fmt.Sprintf("another host on the network has %s; the pod gets it when that host gives it up", duplicates[0]))
		}
		w.later(id, true)
	case unsettled:
		w.later(id, false)
	default:
		if before && s.Pod.Name != "" {
			w.o.Cluster.Event(s.Pod, "Normal", "AddressUsable", "no other host on the network has the pod's IPv6 addresses any more")
		}
		w.end(id)
	}
}

// mend returns the addresses that other hosts have: "fd00::9 (net1)".
func (w *addressWatch) mend(s ledger.Sandbox) (duplicates []string, unsettled bool) {
	handles := w.o.Chains.Open(s.Netns)
	defer closeHandles(handles)
	for _, a := range s.Attachments {
		found, asking, err := w.o.Links.MendAddresses(call(s, a, programs{}, handles), a)
		if err != nil {
			w.o.Log.Warn("looking at the addresses of a pod failed", "sandbox", s.ID, "pod", s.Pod.String(), "network", a.Network, "error", err)
		}
		for _, ip := range found {
			duplicates = append(duplicates, fmt.Sprintf("%s (%s)", ip, a.IfName))
		}
		unsettled = unsettled || asking
	}
	return duplicates, unsettled
}

func (w *addressWatch) wasDuplicate(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.due[id].duplicate
}

func (w *addressWatch) later(id string, duplicate bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	look := w.due[id]
	look.looks++
	look.duplicate = look.duplicate || duplicate
	look.at = w.o.Now().Add(retry.Backoff{First: duplicateDetection, Max: maxAddressPause}.After(look.looks))
	w.due[id] = look
}

func (w *addressWatch) end(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.due, id)
}
