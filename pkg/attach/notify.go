package attach

import (
	"context"
	"errors"
	"fmt"
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
	news := lateNews{a.at.set, a.at.call, l.Index, list}
	if l.Carrier {
		news.log(a.at.pod.Announce(l.Index, l.MAC, list...))
		return
	}
	a.at.set.later(news.send)
}

// lateNews are addresses to announce when their link has a carrier.
type lateNews struct {
	set   *Set
	call  Call
	index int // of the link
	list  []announcement
}

// send gives up when the link is gone, or after carrierTries. It holds no handle on the pod's
// namespace between its looks: with one, a pod's VF would not come home.
func (n lateNews) send() {
	defer func() { // nobody called: a fault here must not end the agent
		if fault := recover(); fault != nil {
			n.log(fmt.Errorf("panic: %v", fault))
		}
	}()
	for range carrierTries {
		if n.set.pause(context.Background(), carrierPause) != nil {
			return
		}
		sent, err := n.try()
		if netns.IsGone(err) || errors.Is(err, link.ErrNotFound) {
			return
		}
		if sent || err != nil {
			n.log(err)
			return
		}
	}
}

func (n lateNews) try() (sent bool, err error) {
	pod, err := n.set.kernel.At(n.call.Netns)
	if err != nil {
		return false, err
	}
	defer pod.Close()
	l, err := pod.ByIndex(n.index)
	if err != nil || !l.Carrier {
		return false, err
	}
	return true, pod.Announce(l.Index, l.MAC, n.list...)
}

func (n lateNews) log(err error) {
	if err != nil {
		n.set.Log.Warn("announcing addresses to the neighbours failed", "pod", n.call.Pod.String(), "interface", n.call.IfName, "error", err)
	}
}
