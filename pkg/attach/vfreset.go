package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// The next pod must not find anything of the last one on its VF: an XDP program would
// see all its frames, promiscuous mode would pass it others'. The kernel keeps all of
// that when the netdev moves, and when the pod's namespace and processes end.

// netdevState records everything that a pod can change of its netdev.
func netdevState(l link.Link, features []string) *ledger.NetdevState {
	return &ledger.NetdevState{
		Name: l.Name, AltNames: append([]string{}, l.AltNames...), Alias: l.Alias,
		Up: l.Up, Promisc: l.Promisc, AllMulti: l.AllMulti, NoARP: l.NoARP, Multicast: l.Multicast,
		Group: l.Group, TxQLen: l.TxQLen, GSOMaxSize: l.GSOMaxSize, GSOMaxSegs: l.GSOMaxSegs, GROMaxSize: l.GROMaxSize,
		GSOIPv4MaxSize: l.GSOIPv4MaxSize, GROIPv4MaxSize: l.GROIPv4MaxSize, Features: features,
	}
}

// difference collects what SetAttributes has to set for a link to be as it was.
type difference struct {
	set   link.Attributes
	names []string
}

// differenceOf compares. A number that the record does not know, 0, is left alone.
func differenceOf(now link.Link, was ledger.NetdevState) difference {
	var d difference
	d.onOff("promiscuous mode", now.Promisc, was.Promisc, &d.set.Promisc)
	d.onOff("all-multicast mode", now.AllMulti, was.AllMulti, &d.set.AllMulti)
	d.onOff("ARP", !now.NoARP, !was.NoARP, &d.set.ARP)
	d.onOff("multicast", now.Multicast, was.Multicast, &d.set.Multicast)
	d.number("txqueuelen", now.TxQLen, was.TxQLen, &d.set.TxQLen)
	d.number("gso_max_size", now.GSOMaxSize, was.GSOMaxSize, &d.set.GSOMaxSize)
	d.number("gso_max_segs", now.GSOMaxSegs, was.GSOMaxSegs, &d.set.GSOMaxSegs)
	d.number("gro_max_size", now.GROMaxSize, was.GROMaxSize, &d.set.GROMaxSize)
	d.number("gso_ipv4_max_size", now.GSOIPv4MaxSize, was.GSOIPv4MaxSize, &d.set.GSOIPv4MaxSize)
	d.number("gro_ipv4_max_size", now.GROIPv4MaxSize, was.GROIPv4MaxSize, &d.set.GROIPv4MaxSize)
	if now.Alias != was.Alias {
		d.names, d.set.Alias = append(d.names, "alias"), &was.Alias
	}
	if now.Group != was.Group {
		d.names, d.set.Group = append(d.names, "group"), &was.Group
	}
	return d
}

func (d *difference) onOff(name string, now, was bool, set **bool) {
	if now != was {
		d.names, *set = append(d.names, name), &was
	}
}

func (d *difference) number(name string, now, was int, set **int) {
	if was != 0 && now != was {
		d.names, *set = append(d.names, name), &was
	}
}

// residue removes the traces of a pod from its netdev. It is removed in two steps. XDP
// programs and attributes come first: a driver with an XDP program refuses large MTUs.
// Offload features come last: they depend on VLAN and MTU. If something differs even
// then, the driver is rebound.
type residue struct {
	n       *netdev
	refused error                       // of remove; only a rebind can help
	again   func(context.Context) error // restores the VF's other settings after a rebind
}

// remove restores the attributes that a pod can change, whatever was asked for. It
// leaves its error to finish.
func (r *residue) remove(context.Context) error {
	if !r.n.exists() || r.n.vf.Original.Netdev == nil {
		return nil
	}
	r.n.forget()
	r.refused = ignoreNoNetdev(r.restoreAttributes()) // moveOut has reported that there is no netdev
	return nil
}

// finish restores the features. If the netdev is not as it was, or if the policy says
// so, it rebinds the driver.
func (r *residue) finish(ctx context.Context) error {
	if !r.n.exists() || r.n.vf.Original.Netdev == nil {
		return nil
	}
	left, err := r.differs()
	if err != nil {
		return errors.Join(r.refused, ignoreNoNetdev(err))
	}
	set := r.n.at.set
	always := set.Reset != nil && set.Reset(r.n.addr) == ResetRebind && r.n.vf.Ifindex != 0
	if set.Rebinder == nil || r.isPF() || !always && r.refused == nil && len(left) == 0 {
		return r.accept(left)
	}
	set.Log.Info("rebinding the VF's driver", "vf", r.n.addr, "differs", strings.Join(left, ", "), "error", r.refused)
	if err := r.rebind(ctx); err != nil {
		return err
	}
	if err := errors.Join(r.restoreAttributes(), r.again(ctx)); err != nil {
		return err
	}
	r.refused = nil
	if left, err = r.differs(); err != nil {
		return err
	}
	return r.accept(left)
}

// isPF reports whether the function is a PF, as host-device moves one. Its VFs would go
// with its driver.
func (r *residue) isPF() bool {
	if !r.n.vf.Original.PF.IsZero() {
		return false
	}
	_, err := r.n.at.set.Sysfs.PF(r.n.addr)
	return err == nil
}

// accept ends the release of a VF that is not quite as it was. With an XDP program on
// it, it is not released.
func (r *residue) accept(left []string) error {
	if len(left) > 0 {
		r.n.at.set.Log.Warn("the VF is not as it was before the pod had it", "vf", r.n.addr, "differs", strings.Join(left, ", "))
	}
	if r.refused == nil && slices.Contains(left, xdpProgram) {
		return fmt.Errorf("an XDP program is still attached to VF %s", r.n.addr)
	}
	return r.refused
}

const xdpProgram = "XDP program"

// restoreAttributes restores names and attributes. XDP programs are always the pod's:
// the host attaches none to a VF.
func (r *residue) restoreAttributes() error {
	l, err := r.n.onHost()
	if err != nil {
		return err
	}
	errs := []error{r.restoreAltNames(l)}
	if l.XDP {
		errs = append(errs, r.n.at.host.DetachXDP(l.Index))
	}
	if d := differenceOf(l, *r.n.vf.Original.Netdev); len(d.names) > 0 {
		errs = append(errs, r.n.at.host.SetAttributes(l.Index, d.set))
	}
	return errors.Join(errs...)
}

// differs restores the features, and lists everything that is not as it was.
func (r *residue) differs() ([]string, error) {
	l, err := r.n.onHost()
	if err != nil {
		return nil, err
	}
	was := *r.n.vf.Original.Netdev
	left := differenceOf(l, was).names
	if l.XDP {
		left = append(left, xdpProgram)
	}
	return append(left, r.restoreFeatures(l.Name, was.Features)...), nil
}

// restoreAltNames also takes away those of the pod: the host's links would meet
// them, and the next pod. One that another link has by now is given up.
func (r *residue) restoreAltNames(l link.Link) error {
	was := r.n.vf.Original.Netdev
	if was == nil || was.AltNames == nil {
		return nil // a record from before they were noted
	}
	errs := []error{ignoreNotFound(r.n.dropAltNames(r.n.at.host, &l, r.n.foreignAltNames(l)))}
	for _, alt := range was.AltNames {
		if alt == l.Name || slices.Contains(l.AltNames, alt) {
			continue
		}
		err := r.n.at.host.AddAltName(l.Index, alt)
		if errors.Is(err, link.ErrExists) {
			r.n.at.set.Log.Warn("another link has taken an altname of the VF", "vf", r.n.addr, "altname", alt)
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// restoreFeatures returns the features that differ afterwards. If the record does not
// know them, it leaves them alone.
func (r *residue) restoreFeatures(name string, was []string) []string {
	if was == nil {
		return nil
	}
	now, err := r.n.at.host.Features(name)
	if err != nil {
		r.n.at.set.Log.Warn("reading the VF's ethtool features failed; leaving them", "vf", r.n.addr, "error", err)
		return nil
	}
	change := changes(now, was)
	if len(change) == 0 {
		return nil
	}
	if err := r.n.at.host.SetFeatures(name, change); err != nil {
		r.n.at.set.Log.Warn("restoring the VF's ethtool features failed", "vf", r.n.addr, "error", err)
	}
	if now, err = r.n.at.host.Features(name); err != nil {
		return nil
	}
	var left []string
	for feature := range changes(now, was) {
		left = append(left, feature)
	}
	slices.Sort(left)
	return left
}

// changes says which features to turn on and off.
func changes(now, want []string) map[string]bool {
	out := map[string]bool{}
	for _, f := range now {
		if !slices.Contains(want, f) {
			out[f] = false
		}
	}
	for _, f := range want {
		if !slices.Contains(now, f) {
			out[f] = true
		}
	}
	return out
}

// rebind gives the VF a new netdev, and that one the old name.
func (r *residue) rebind(ctx context.Context) error {
	if err := r.n.at.set.Rebinder.Rebind(r.n.addr); err != nil {
		return fmt.Errorf("rebind VF %s: %w", r.n.addr, err)
	}
	for try := 1; ; try++ {
		l, err := r.n.onHost()
		if err == nil {
			return r.n.rename(ctx, l)
		}
		if !errors.Is(err, errNoNetdev) || try == homeTries || r.n.at.set.pause(ctx, homePause) != nil {
			return err
		}
	}
}
