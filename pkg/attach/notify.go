package attach

import (
	"context"
	"errors"
	"time"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/netns"
)

const (
	carrierTries = 50
	carrierPause = 100 * time.Millisecond
)

// notify looks for duplicates once more, and then notifies the neighbours of a VF's
// addresses. The kernel's own announcement, when the interface came up, was lost if the
// NIC had no carrier yet. For an optimistic IPv6 address the kernel sends none.
func (a *addressing) notify(l link.Link) error {
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
	a.announce(l, list)
	return nil
}

// announce never fails an attachment: caches elsewhere expire by themselves. A NIC without
// carrier would lose the frames, and ADD does not wait for it (meta-cni D3).
func (a *addressing) announce(l link.Link, list []announcement) {
	set, c := a.at.set, a.at.call
	if l.Carrier {
		set.logAnnounce(c, a.at.pod.Announce(l.Index, l.MAC, list...))
		return
	}
	set.later(func() { set.announceWithCarrier(c, l.Index, list) })
}

func (s *Set) logAnnounce(c Call, err error) {
	if err != nil {
		s.Log.Warn("announcing addresses to the neighbours failed", "pod", c.Pod.String(), "interface", c.IfName, "error", err)
	}
}

// announceWithCarrier announces addresses when the link has a carrier. It gives up when the link
// is gone, or after carrierTries. It holds no handle on the pod's namespace between its
// looks: with one, a pod's VF would not come home.
func (s *Set) announceWithCarrier(c Call, index int, list []announcement) {
	for range carrierTries {
		if s.pause(context.Background(), carrierPause) != nil {
			return
		}
		sent, err := s.tryAnnounce(c, index, list)
		if netns.IsGone(err) || errors.Is(err, link.ErrNotFound) {
			return
		}
		if sent || err != nil {
			s.logAnnounce(c, err)
			return
		}
	}
}

func (s *Set) tryAnnounce(c Call, index int, list []announcement) (sent bool, err error) {
	pod, err := s.kernel.At(c.Netns)
	if err != nil {
		return false, err
	}
	defer pod.Close()
	l, err := pod.ByIndex(index)
	if err != nil || !l.Carrier {
		return false, err
	}
	return true, pod.Announce(l.Index, l.MAC, list...)
}
