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
	first := att.Members[0]
	if first.Child == nil && first.Veth == nil {
		if result, err := recordedResult(att); err != nil || !makes(result, att.IfName) {
			return false, err // a program that makes no interface of this name
		}
	}
	c, done := p.set.begin(c, att)
	defer done()
	at, err := p.set.enter(c)
	if err != nil {
		return false, err
	}
	defer at.close()
	if first.Veth != nil {
		return pairIsLost(at.host, *first.Veth)
	}
	_, err = at.pod.ByName(att.IfName)
	if errors.Is(err, link.ErrNotFound) && first.Child != nil && first.Child.Ifindex != 0 {
		_, err = at.pod.ByIndex(first.Child.Ifindex) // the pod may have renamed it
	}
	if errors.Is(err, link.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// pairIsLost looks at the end on the host: both ends go at once. If a bridge is deleted, its
// ports stay, and are ports of nothing.
func pairIsLost(host *Links, v ledger.VethMember) (bool, error) {
	l, err := host.ByName(v.Host)
	if errors.Is(err, link.ErrNotFound) {
		return true, nil
	}
	return err == nil && v.Bridge != "" && l.Master == 0, err
}

func makes(r *types100.Result, ifName string) bool {
	return r != nil && slices.ContainsFunc(r.Interfaces, func(i *types100.Interface) bool { return i.Name == ifName && i.Sandbox != "" })
}

// CanRemake reports whether Remake can make the link of an attachment again: no program
// has a part in it.
func CanRemake(att ledger.Attachment) bool {
	return BuiltIn(att) && len(att.Members) > 0 && (att.Members[0].Child != nil || att.Members[0].Veth != nil)
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
	m := asRecorded(att.Members[0], recorded, att.IfName)
	w, err := remakerOf(at, &m)
	if err != nil {
		return err
	}
	if err := w.remakeSteps(recorded).run(ctx); err != nil {
		return err
	}
	if err := p.remakeRest(ctx, c, *att, w.made()); err != nil {
		return errors.Join(err, w.deleteInPod())
	}
	if m.Child != nil {
		att.Members[0].Child.Ifindex = m.Child.Ifindex
	} else {
		att.Members[0].Veth.Ifindex = m.Veth.Ifindex
	}
	return nil
}

// remaker makes the link of a chain's first member again.
type remaker interface {
	remakeSteps(recorded *types100.Result) steps
	made() *types100.Result
	deleteInPod() error
}

func remakerOf(at site, m *ledger.Member) (remaker, error) {
	switch m.Plugin {
	case PluginBridge:
		return newBridgeWork(at, m)
	case PluginPTP:
		return newPTPWork(at, m)
	}
	if m.Child.InPod { // on an interface of the pod's own
		return newChildWork(at, m)
	}
	if err := at.mayCarry(m.Child.Uplink); err != nil {
		return nil, err
	}
	return newChildWork(at, m)
}

// asRecorded returns a copy of a member that makes the very link of the result.
func asRecorded(m ledger.Member, recorded *types100.Result, ifName string) ledger.Member {
	mac := ""
	for _, i := range recorded.Interfaces {
		if i.Name == ifName && i.Sandbox != "" {
			mac = i.Mac
		}
	}
	if m.Veth != nil {
		veth := *m.Veth
		veth.MAC, m.Veth = mac, &veth
		return m
	}
	child := *m.Child
	child.OtherKinds = nil // this kind has been made
	if m.Plugin == PluginMacvlan {
		child.MAC = mac
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

// remakeSteps of a bridge's port also make the bridge again, if that is gone.
func (w *bridgeWork) remakeSteps(recorded *types100.Result) steps {
	return steps{
		{"read the config", w.readConf, nil},
		{"delete the pair that lost its bridge", w.delete, nil},
		{"make the interface", w.make, w.remove},
		{"set the interface's sysctls", w.setSysctls, nil},
		{"configure addresses", func(ctx context.Context) error {
			w.ip.take(recorded)
			w.outer(w.bridge, w.near)
			return w.configure(ctx)
		}, nil},
		{"configure the gateway", w.configureGateway, nil},
		{"wait for the bridge's port", w.await, nil},
		{"read the bridge", w.complete, nil},
	}
}

// take takes the addresses and routes of a result instead of new ones.
func (a *addressing) take(recorded *types100.Result) {
	for _, ip := range recorded.IPs {
		if isOn(recorded, ip, a.at.call.IfName) {
			again := ip.Copy()
			again.Interface = &a.index
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
	if len(att.Members) == 0 || !configuresAddresses(att.Members[0]) {
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

// configuresAddresses reports whether a built-in plugin has put addresses on an interface.
func configuresAddresses(m ledger.Member) bool {
	return m.Child != nil || m.Veth != nil || m.VF != nil && m.Plugin != PluginVFIO
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
