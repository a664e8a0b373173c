package attach

import (
	"context"
	"net"
	"time"

	"fairlead.dev/fairlead/pkg/link"
)

const (
	carrierTries = 20
	carrierPause = 10 * time.Millisecond
)

// tell ends the configuration: it looks for duplicates once more, and tells the
// neighbours of a VF's addresses. The kernel's own announcement, when the interface
// came up, was lost if the NIC had no carrier yet.
func (a *addressing) tell(ctx context.Context, l link.Link) error {
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
	var ips []net.IP
	for _, ip := range a.result.IPs {
		// While detection runs, another host may own the address, and RFC 4429 forbids
		// to override it in caches. The kernel announces the address afterwards
		// (ndisc_notify).
		if !tentative[ip.Address.IP.String()] {
			ips = append(ips, ip.Address.IP)
		}
	}
	a.announce(ctx, l, ips)
	return nil
}

// announce never fails an attachment: caches elsewhere expire by themselves.
func (a *addressing) announce(ctx context.Context, l link.Link, ips []net.IP) {
	if len(ips) == 0 {
		return
	}
	for try := 1; !l.Carrier && try < carrierTries && a.at.set.pause(ctx, carrierPause) == nil; try++ {
		now, err := a.at.pod.ByIndex(l.Index)
		if err != nil {
			break
		}
		l = now
	}
	if err := a.at.pod.Announce(l.Index, l.MAC, ips); err != nil {
		a.at.set.Log.Warn("announcing addresses to the neighbours failed", "vf", a.m.Device, "interface", a.at.call.IfName, "error", err)
	}
}
