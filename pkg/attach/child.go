package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// child is the Plugin that makes a macvlan or ipvlan for the pod on a host netdev.
type child struct{ set *Set }

// Prepare finds the host netdev.
func (p child) Prepare(_ context.Context, c Call, conf Conf) (ledger.Member, error) {
	at, err := p.set.enterHost(c)
	if err != nil {
		return ledger.Member{}, err
	}
	defer at.close()
	if conf.Type == PluginIPvlan {
		return prepareIPvlan(at, conf)
	}
	return prepareMacvlan(at, conf)
}

// Add makes the link in the pod, complete, by one message.
func (p child) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newChildWork(at, m)
	if err != nil {
		return nil, err
	}
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.ip.result, nil
}

// Del deletes the link, and gives its addresses back.
func (p child) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newChildWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// childWork is one Add or Del of a link on a host netdev.
type childWork struct {
	at   site
	m    *ledger.Member
	ip   *addressing
	link link.Link // in the pod
}

func newChildWork(at site, m *ledger.Member) (*childWork, error) {
	if m.Child == nil {
		return nil, errors.New("the record of the link names no uplink")
	}
	return &childWork{at: at, m: m, ip: &addressing{at: at, m: m}}, nil
}

func (w *childWork) steps() steps {
	wait := step{"wait for the interfaces before it", w.at.call.Order.turn, nil}
	if w.m.Child.InPod {
		wait = step{"wait for the networks before it", w.at.call.Order.last, nil}
	}
	return steps{
		wait,
		{"make the interface", w.make, w.delete},
		{"set the interface's sysctls", w.ip.setSysctls, nil},
		w.ip.step(),
		{"configure addresses", w.configureAddresses, nil},
	}
}

func (w *childWork) made() *types100.Result { return w.ip.result }

func (w *childWork) configureAddresses(ctx context.Context) error {
	return w.ip.configure(ctx, w.link)
}

// make makes the kind that Prepare chose. If the kernel turns out not to have it, make
// goes on with the next kind that the network declares as a fallback.
func (w *childWork) make(context.Context) error {
	for {
		err := w.makeKind()
		if err == nil || !cannotMake(err) || len(w.m.Child.OtherKinds) == 0 || w.m.Child.MAC != "" {
			return err
		}
		// The record stays valid: both kinds are released in the same way.
		if f := w.m.Child.Fallback; f != nil {
			f.Reason += fmt.Sprintf("; %s on %s: %v", w.m.Plugin, w.m.Child.Uplink, err)
		}
		w.m.Plugin, w.m.Child.OtherKinds = w.m.Child.OtherKinds[0], w.m.Child.OtherKinds[1:]
		w.m.Child.Mode = defaultMode(w.m.Plugin)
	}
}

func (w *childWork) makeKind() error {
	if w.m.Child.InPod {
		return w.makeInPod()
	}
	uplink, err := w.at.host.ByName(w.m.Child.Uplink)
	if err != nil {
		return err
	}
	if w.m.Child.VLAN == 0 || w.m.Plugin == PluginVLAN {
		return w.makeOn(uplink)
	}
	return w.makeOnVLAN(uplink)
}

// cannotMake reports whether the kernel has no such links, or the uplink takes none.
func cannotMake(err error) bool {
	return errors.Is(err, link.ErrUnsupported) || errors.Is(err, unix.EBUSY)
}

func (w *childWork) makeOn(parent link.Link) (err error) {
	c, kind := w.m.Child, w.m.Plugin
	spec := link.Spec{Name: w.at.call.IfName, Parent: parent.Index, MTU: c.MTU, Group: linkGroup}
	if w.at.call.inChain || ipamIsProgram(w.m.IPAM) {
		spec.Group = chainGroup
	}
	var made link.Link
	switch kind {
	case PluginIPvlan:
		made, err = w.below().AddIPvlan(spec, c.Mode, w.at.pod)
	case PluginVLAN:
		made, err = makeVLANLink(w, spec, parent)
	default:
		spec.MAC = c.MAC
		made, err = w.below().AddMacvlan(spec, c.Mode, c.QueueLen, w.at.pod)
	}
	switch {
	case errors.Is(err, link.ErrExists):
		return fmt.Errorf("the pod has an interface %s already: %w", w.at.call.IfName, err)
	case errors.Is(err, link.ErrUnsupported):
		return fmt.Errorf("this node's kernel has no %s (module missing?): %w", kind, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%s takes no %s: it is a port of a bridge or bond, or has links of the other kind (macvlan and ipvlan exclude each other): %w", parent.Name, kind, err)
	case err != nil:
		return fmt.Errorf("on %s: %w", parent.Name, err)
	}
	w.link, c.Ifindex = made, made.Index
	w.ip.found(made)
	w.at.call.Order.made()
	return nil
}

// delete also gives up the shared VLAN link below, whether or not the pod's link is
// still there.
func (w *childWork) delete(context.Context) error {
	var err error
	if w.at.pod != nil {
		err = w.deleteInPod()
	}
	return errors.Join(err, w.releaseVLAN())
}

func (w *childWork) deleteInPod() error {
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := l.Group == linkGroup || l.Group == chainGroup
	if !ours || !slices.Contains([]string{PluginMacvlan, PluginIPvlan, PluginVLAN}, l.Kind) {
		return nil // of this name, but not made by this package
	}
	return ignoreNotFound(w.at.pod.Delete(l.Index))
}

// uplinkOf finds the host netdev that a link is to be made on: by name or altname,
// else the default route's.
func (at site) uplinkOf(master string) (l link.Link, err error) {
	if master == "" {
		l, err = at.host.DefaultLink()
		if errors.Is(err, link.ErrNotFound) {
			return l, errors.New("field \"master\" is not set, and this node has no default route to take the interface from; set it")
		}
	} else {
		l, err = at.host.ByName(master)
		if errors.Is(err, link.ErrNotFound) {
			return l, fmt.Errorf("field \"master\": this node has no interface %q; it has %s", master, at.hostLinkNames())
		}
	}
	if err != nil {
		return l, err
	}
	if master == "" {
		if err := at.mayUseUnnamed(l); err != nil {
			return l, err
		}
	}
	return l, at.mayBeUplink(l)
}

func (at site) hostLinkNames() string { return linkNames(at.host, "veth") }

// linkNames lists the links of a namespace, except loopback and those of a kind.
func linkNames(in *Links, without string) string {
	links, err := in.List()
	if err != nil || len(links) == 0 {
		return "none"
	}
	const most = 12
	var names []string
	for _, l := range links {
		if l.Type == "loopback" || without != "" && l.Kind == without {
			continue // a node has one veth for each pod
		}
		names = append(names, l.Name)
	}
	if len(names) > most {
		names = append(names[:most], "…")
	}
	return strings.Join(names, ", ")
}

// childMember records a link on a host netdev.
func childMember(plugin, ipamType string, uplink link.Link, c ledger.ChildMember) (ledger.Member, error) {
	if c.MTU > uplink.MTU {
		return ledger.Member{}, fmt.Errorf("field \"mtu\": %d is above the MTU of %s, %d; raise that one first or ask for less", c.MTU, uplink.Name, uplink.MTU)
	}
	c.Uplink = uplink.Name
	return ledger.Member{Plugin: plugin, IPAM: ipamType, Child: &c}, nil
}

func defaultMode(plugin string) string {
	if plugin == PluginIPvlan {
		return "l2"
	}
	return "bridge"
}
