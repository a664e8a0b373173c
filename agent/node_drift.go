package agent

import (
	"context"
	"time"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/retry"
)

const (
	// knobsSettle is how long after an event a PF's VFs are read. Pods that start and stop
	// change knobs too, and each reading asks the driver about all VFs.
	knobsSettle = 5 * time.Second
	// resubscribe is the pause before subscribing again after the kernel's events have ended.
	resubscribe = time.Second
)

// keepKnobs applies the profiles again when somebody has changed a knob of a free VF by hand.
// `ip link set PF vf 0 trust on` changes nothing in a snapshot, but the kernel sends an event
// for the PF. keepKnobs ends with ctx.
func (n *node) keepKnobs(ctx context.Context, subscribe func(context.Context) (<-chan link.Event, error)) error {
	for ctx.Err() == nil {
		events, err := subscribe(ctx)
		if err != nil {
			n.log.Warn("subscribing to link events failed; knobs changed by hand are noticed only at the next review", "error", err)
		} else {
			n.followKnobs(ctx, events)
		}
		if retry.Sleep(ctx, resubscribe) != nil {
			break
		}
	}
	return nil
}

// followKnobs returns when the events end. Lost events count as one event for every PF.
func (n *node) followKnobs(ctx context.Context, events <-chan link.Event) {
	touched := map[int]bool{} // by ifindex
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if n.touch(touched, e) {
				timer.Reset(knobsSettle)
			}
		case <-timer.C:
			if n.drifted(touched) {
				kick(n.reapply)
			}
			clear(touched)
		case <-ctx.Done():
			return
		}
	}
}

// touch records the PF that an event is about, and reports whether it is the first one.
func (n *node) touch(touched map[int]bool, e link.Event) (first bool) {
	none := len(touched) == 0
	for _, pf := range n.inv.Snapshot().PFs {
		if e.Lost || e.Link.Index == pf.Ifindex {
			touched[pf.Ifindex] = true
		}
	}
	return none && len(touched) > 0
}

func (n *node) drifted(touched map[int]bool) bool {
	profiles := n.currentModel().Profiles
	for _, pf := range n.follow(n.inv.Snapshot().PFs) {
		if touched[pf.Ifindex] && n.driftedOn(profiles, pf) {
			n.log.Info("VF settings differ from the profile; applying it again", "pf", pf.Netdev)
			return true
		}
	}
	return false
}

func (n *node) driftedOn(profiles []config.Profile, pf device.PF) bool {
	if !profile.Watches(profiles, pf) {
		return false
	}
	settings, err := n.applier.Links.VFs(pf.Ifindex)
	if err != nil {
		n.log.Debug("reading VF settings failed", "pf", pf.Netdev, "error", err)
		return false
	}
	return profile.Drifted(profiles, pf, settings, n.custody.View())
}
