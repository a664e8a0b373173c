package custody

import (
	"context"
	"reflect"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

// askWithin bounds one question to the kubelet.
const askWithin = 10 * time.Second

// grants follows what the kubelet gave out, which has no events.
type grants struct {
	src       Sources
	out       *published
	sightings *sightings
	ask       chan struct{} // there is cause to ask
}

// follow asks at the start, at each Resync, and when there is cause to. If the kubelet
// does not answer, its last answer is valid: it allocates nothing meanwhile.
func (g *grants) follow(ctx context.Context) error {
	for {
		wait := g.src.Resync
		if err := g.read(ctx); err != nil && ctx.Err() == nil {
			g.src.Log.Warn("what the kubelet gave out cannot be read; it is tried again", "error", err)
			wait = min(wait, retryUnread)
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
		if reflect.DeepEqual(granted, next.grants) {
			return false
		}
		next.grants = granted
		for fn := range granted {
			g.sightings.forget(next, []Use{{Function: fn}})
		}
		return true
	})
	return nil
}

// confirm asks again if the last answer, and no record, speaks against a function:
// containers end without news.
func (g *grants) confirm(ctx context.Context, fns []pci.Address) {
	v := g.out.view()
	onlyGranted := func(fn pci.Address) bool {
		return slices.ContainsFunc(v.allocationUses(fn), func(u Use) bool { return u.Since.IsZero() })
	}
	if g.src.Kubelet == nil || !slices.ContainsFunc(fns, onlyGranted) {
		return
	}
	if err := g.read(ctx); err != nil {
		g.src.Log.Warn("what the kubelet gave out cannot be read", "error", err)
	}
}
