package custody

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

const (
	// askWithin bounds one question to the kubelet.
	askWithin = 10 * time.Second
	// unrecordedWait is how long a grant without a record, such as one from before the ledger
	// was lost, may outlive its pod in the View.
	unrecordedWait = 30 * time.Second
)

// grants keeps the kubelet's grants in the View. They have no events.
type grants struct {
	src       Sources
	out       *published
	sightings *sightings
	ask       chan struct{} // the grants may have changed

	mu      sync.Mutex           // guards lacking
	lacking map[string]time.Time // since when the kubelet does not list a function of a sandbox
}

// ungrantedFor is how long the kubelet must not list a function of a running pod until that
// counts. A kubelet that has just restarted does not list its pods yet.
const ungrantedFor = time.Minute

// follow asks at the start, at each Resync, and after a signal on ask. It asks more often
// while a VF is granted that is not on record, because nothing else reports its end, and when a
// running pod's grant has just vanished. If the
// kubelet does not answer, its last answer stays valid: it allocates nothing meanwhile.
func (g *grants) follow(ctx context.Context) error {
	for first := true; ; first = false {
		wait := g.src.Resync
		if err := g.read(ctx); err != nil && ctx.Err() == nil {
			g.src.Log.Warn("cannot read the kubelet's grants; trying again", "error", err)
			wait = min(wait, retryUnread)
		} else if v := g.out.view(); slices.ContainsFunc(slices.Collect(maps.Keys(v.grants)), v.onlyGranted) || g.undecided() ||
			first && len(v.index.functions) == 0 { // the node's functions may not have been read yet
			wait = min(wait, unrecordedWait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-g.ask:
			timer.Stop()
		}
	}
}

func (g *grants) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	all, err := g.src.Kubelet.Grants(ctx)
	if err != nil {
		return err
	}
	g.out.update(func(next *View) bool {
		granted := byFunction(all)
		same := reflect.DeepEqual(granted, next.grants)
		next.grants = granted
		if g.lookUngranted(next); same {
			return !maps.Equal(next.ungranted, g.out.view().ungranted)
		}
		for fn := range granted {
			g.sightings.forget(next, []Use{{Function: fn}})
		}
		return true
	})
	return nil
}

// lookUngranted notes the sandboxes that the kubelet has not listed for a while.
func (g *grants) lookUngranted(next *View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, lacking := g.src.Now(), map[string]time.Time{}
	next.ungranted = map[string]bool{}
	for _, uses := range next.sandboxes.byFunction {
		for _, u := range uses {
			if !next.lacksGrant(u) {
				continue
			}
			since, known := g.lacking[u.Sandbox]
			if !known {
				since = now
			}
			lacking[u.Sandbox] = since
			if now.Sub(since) >= ungrantedFor {
				next.ungranted[u.Sandbox] = true
			}
		}
	}
	g.lacking = lacking
}

// undecided reports whether a function is not listed, and has not been for long.
func (g *grants) undecided() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, since := range g.lacking {
		if g.src.Now().Sub(since) < ungrantedFor {
			return true
		}
	}
	return false
}

// confirm asks again if a grant is the only reason against one of the functions:
// containers end without an event.
func (g *grants) confirm(ctx context.Context, fns []pci.Address) {
	if g.src.Kubelet == nil || !slices.ContainsFunc(fns, g.out.view().onlyGranted) {
		return
	}
	if err := g.read(ctx); err != nil {
		g.src.Log.Warn("cannot read the kubelet's grants", "error", err)
	}
}
