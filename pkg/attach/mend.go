package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// The kernel deletes a macvlan, ipvlan or VLAN link together with its uplink, although it
// lies in a pod. When the uplink is made again (a bond that is reconfigured, a NIC whose
// driver is reloaded), nobody makes the pod's link again. And an IPv6 address that some
// host still has stays dead, although that host gives it up later.

// Mender looks after the links of running sandboxes.
type Mender struct{ set *Set }

// NewMender returns a Mender of the attachments that a Set makes.
func NewMender(s *Set) Mender { return Mender{s} }

// Lost reports whether the link of an attachment is gone from the pod, by name and by
// index. A VF is never lost in this way: it is a device.
func (p Mender) Lost(c Call, att ledger.Attachment) (bool, error) {
	if len(att.Members) == 0 || att.Members[0].VF != nil {
		return false, nil
	}
	index := 0
	if child := att.Members[0].Child; child != nil {
		index = child.Ifindex
	} else if result, err := recordedResult(att); err != nil || !makes(result, att.IfName) {
		return false, err // a program that makes no interface of this name
	}
	c, done := p.set.begin(c, att)
	defer done()
	at, err := p.set.enter(c)
	if err != nil {
		return false, err
	}
	defer at.close()
	_, err = at.pod.ByName(att.IfName)
	if errors.Is(err, link.ErrNotFound) && index != 0 {
		_, err = at.pod.ByIndex(index) // the pod may have renamed it
	}
	if errors.Is(err, link.ErrNotFound) {
		return true, nil
	}
	return false, err
}

func makes(r *types100.Result, ifName string) bool {
	return r != nil && slices.ContainsFunc(r.Interfaces, func(i *types100.Interface) bool { return i.Name == ifName && i.Sandbox != "" })
}

// CanRemake reports whether Remake can make the link of an attachment again: no program
// has a part in it.
func CanRemake(att ledger.Attachment) bool {
	return BuiltIn(att) && len(att.Members) > 0 && att.Members[0].Child != nil
}

// Remake makes the lost link of an attachment again, as the record describes it: with its
// name, MAC, addresses and routes, and with the settings of the members after it. On error
// nothing new is left in the pod. It sets the link's index in the record.
func (p Mender) Remake(ctx context.Context, c Call, att *ledger.Attachment) error {
	if !CanRemake(*att) {
		return errors.New("a program has made it; only the pod's next sandbox makes it again")
	}
	recorded, err := recordedResult(*att)
	if err == nil && recorded == nil {
		err = errors.New("the record has no result")
	}
	if err != nil {
		return err
	}
	c, done := p.set.begin(c, *att)
	defer done()
	at, err := p.set.enter(c.forMember(*att, 0))
	if err != nil {
		return err
	}
	defer at.close()
	if child := att.Members[0].Child; !child.InPod {
		if err := at.mayCarry(child.Uplink); err != nil {
			return err
		}
	}
	m := asRecorded(att.Members[0], recorded, att.IfName)
	w, err := newChildWork(at, &m)
	if err != nil {
		return err
	}
	if err := w.remakeSteps(recorded).run(ctx); err != nil {
		return err
	}
	if err := p.remakeRest(ctx, c, *att, w.ip.result); err != nil {
		return errors.Join(err, w.deleteInPod())
	}
	att.Members[0].Child.Ifindex = m.Child.Ifindex
	return nil
}

// asRecorded returns a copy of a member that makes the very link of the result.
func asRecorded(m ledger.Member, recorded *types100.Result, ifName string) ledger.Member {
	child := *m.Child
	child.OtherKinds = nil // this kind has been made
	for _, i := range recorded.Interfaces {
		if i.Name == ifName && i.Sandbox != "" && m.Plugin == PluginMacvlan {
			child.MAC = i.Mac
		}
	}
	m.Child = &child
	return m
}

// remakeSteps leave the IPAM alone: it still has the addresses reserved.
func (w *childWork) remakeSteps(recorded *types100.Result) steps {
	return steps{
		{"make the interface", w.make, func(context.Context) error { return w.deleteInPod() }},
		{"set the interface's sysctls", w.ip.setSysctls, nil},
		{"configure addresses", func(ctx context.Context) error {
			w.ip.take(recorded)
			return w.configureAddresses(ctx)
		}, nil},
	}
}

// take takes the addresses and routes of a result instead of new ones.
func (a *addressing) take(recorded *types100.Result) {
	for _, ip := range recorded.IPs {
		if isOn(recorded, ip, a.at.call.IfName) {
			again := ip.Copy()
			again.Interface = new(int)
			a.result.IPs = append(a.result.IPs, again)
		}
	}
	a.result.Routes, a.result.DNS = recorded.Routes, recorded.DNS
}

// remakeRest runs the Add of the members after the first. Their records stay: an original
// that is recorded now would be the state that they have made.
func (p Mender) remakeRest(ctx context.Context, c Call, att ledger.Attachment, result *types100.Result) (err error) {
	c.Prev = result
	for i := 1; i < len(att.Members); i++ {
		m := att.Members[i]
		if m.Tuning != nil {
			own := *m.Tuning
			m.Tuning = &own
		}
		if c.Prev, err = p.set.addMember(ctx, c.forMember(att, i), &m); err != nil {
			return memberError(i, len(att.Members), m.Type, err)
		}
	}
	return nil
}

// MendAddresses looks at the IPv6 addresses of an attachment. Those that another host has
// are removed and added again, which has the kernel ask the network once more. It returns
// them. unsettled reports that the kernel is still asking for some.
//
// ADD does not wait for that (RFC 4429, optimistic addresses): it takes a second or two.
func (p Mender) MendAddresses(c Call, att ledger.Attachment) (duplicates []net.IP, unsettled bool, err error) {
	if len(att.Members) == 0 || att.Members[0].Child == nil && (att.Members[0].VF == nil || att.Members[0].Plugin == PluginVFIO) {
		return nil, false, nil
	}
	result, err := recordedResult(att)
	if err != nil || !HasIPv6(result) {
		return nil, false, err
	}
	c, done := p.set.begin(c, att)
	defer done()
	at, err := p.set.enter(c)
	if err != nil {
		return nil, false, err
	}
	defer at.close()
	l, err := at.pod.ByName(att.IfName)
	if err != nil {
		return nil, false, ignoreNotFound(err) // Lost reports that
	}
	have, err := at.pod.Addresses(l.Index)
	if err != nil {
		return nil, false, err
	}
	var errs []error
	for _, a := range have {
		own := func(ip *types100.IPConfig) bool { return ip.Address.IP.Equal(a.IPNet.IP) && isOn(result, ip, l.Name) }
		if a.IPNet.IP.To4() != nil || !slices.ContainsFunc(result.IPs, own) {
			continue
		}
		unsettled = unsettled || a.Tentative && !a.Duplicate
		if a.Duplicate {
			duplicates = append(duplicates, a.IPNet.IP)
			errs = append(errs, addAgain(at.pod, l.Index, a.IPNet))
		}
	}
	return duplicates, unsettled, errors.Join(errs...)
}

func addAgain(pod *Links, index int, address net.IPNet) error {
	if err := pod.DeleteAddress(index, address); err != nil && !errors.Is(err, link.ErrNotFound) {
		return err
	}
	if err := pod.AddAddress(index, link.IPAddress{IPNet: address, Optimistic: true}); err != nil {
		return fmt.Errorf("add %s again: %w", address.IP, err)
	}
	return nil
}

// HasIPv6 reports whether a result has an IPv6 address. The result may be nil.
func HasIPv6(r *types100.Result) bool {
	return r != nil && slices.ContainsFunc(r.IPs, func(ip *types100.IPConfig) bool { return ip.Address.IP.To4() == nil })
}
