package attach

import (
	"context"
	"time"

	"fairlead.dev/fairlead/pkg/link"
)

const (
	carrierTries = 20
	carrierPause = 10 * time.Millisecond
)

// notify looks for duplicates once more, and then notifies the neighbours of a VF's
// addresses. The kernel's own announcement, when the interface came up, was lost if the
// NIC had no carrier yet. For an optimistic IPv6 address the kernel sends none.
func (a *addressing) notify(ctx context.Context, l link.Link) error {
	tentative := map[string]bool{}
	if a.hasIPv6() {
		addrs, err := a.own(l)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			tentative[addr.IPNet.IP.String()] = addr.Tentative
		}
	}
	if a.m.Device.IsZero() || len(a.result.IPs) == 0 {
		return nil
	}
	var list []announcement
	for _, ip := range a.result.IPs {
		list = append(list, announcement{ip.Address.IP, tentative[ip.Address.IP.String()]})
	}
	a.announce(ctx, l, list)
	return nil
}

// announce never fails an attachment: caches elsewhere expire by themselves.
func (a *addressing) announce(ctx context.Context, l link.Link, list []announcement) {
	for try := 1; !l.Carrier && try < carrierTries && a.at.set.pause(ctx, carrierPause) == nil; try++ {
		now, err := a.at.pod.ByIndex(l.Index)
		if err != nil {
			break
		}
		l = now
	}
	if err := a.at.pod.Announce(l.Index, l.MAC, list...); err != nil {
		a.at.set.Log.Warn("announcing addresses to the neighbours failed", "vf", a.m.Device, "interface", a.at.call.IfName, "error", err)
	}
}
