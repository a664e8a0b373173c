package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

var errBusy = errors.New("a call works on the sandbox")

// follow changes the interfaces of a running sandbox until they are those of the pod's
// annotation: removed ones first, whose names and devices the new ones may get.
func (p *plugger) follow(ctx context.Context, id string, pod network.Pod) (err error) {
	unlock, unused := p.locks.tryLock(id)
	if !unused {
		return errBusy
	}
	defer unlock()
	defer Recovered(&err)
	s, ok, err := p.o.Ledger.Sandbox(id)
	if err != nil || !ok || s.Releasing || !complete(s) || p.o.Kernel.gone(s.Netns) || p.o.Kernel.reused(s.Netns) {
		return err
	}
	turn := &turn{turns: p.turns}
	defer turn.end()
	if err := p.planner.takeTurnToParse(ctx, pod, turn); err != nil {
		return err
	}
	selections, err := network.ParseSelections(pod.Annotations[network.NetworksAnnotation], pod.Namespace)
	if err != nil {
		return err
	}
	add, remove, err := network.Changes(selections, selected(s), notSelected(s))
	if err != nil {
		return err
	}
	removed, err := p.unplug(ctx, &s, remove)
	if err != nil {
		return err
	}
	added, err := p.plug(ctx, &s, pod, turn, selections, add)
	if err != nil {
		return err
	}
	return p.finish(ctx, s, pod, added, removed)
}

// selected lists the interfaces that the annotation chose.
func selected(s ledger.Sandbox) []network.Interface {
	var all []network.Interface
	for _, a := range s.Attachments {
		if a.Selected && a.Hotplug == "" {
			all = append(all, network.Interface{Network: a.Network, Name: a.IfName})
		}
	}
	return all
}

// notSelected lists the names of the others: the primary, default networks.
func notSelected(s ledger.Sandbox) []string {
	var names []string
	for _, a := range s.Attachments {
		if !a.Selected {
			names = append(names, a.IfName)
		}
	}
	return names
}

// finish makes the new state durable, and reports it.
func (p *plugger) finish(ctx context.Context, s ledger.Sandbox, pod network.Pod, added, removed []string) error {
	s.Annotation = fingerprint(pod)
	results, err := recordedResults(s)
	if err != nil {
		return err
	}
	if s.Status, err = p.statuses.document(s, results); err != nil {
		return fail("build the network status", Internal, err)
	}
	if err := p.o.Ledger.PutSandbox(s); err != nil {
		return fail("record the changed networks", ByCause, err)
	}
	p.statuses.writeSoon(ctx, s)
	if len(removed) > 0 {
		p.o.Cluster.Event(s.Pod, "Normal", "RemovedInterface", "Remove "+strings.Join(removed, ", "))
	}
	if len(added) > 0 {
		p.o.Cluster.Event(s.Pod, "Normal", "AddedInterface", "Add "+strings.Join(added, ", "))
	}
	p.log.Info("the pod's interfaces follow its annotation", "pod", s.Pod.String(), "added", added, "removed", removed)
	return nil
}

// unplug releases the interfaces to remove, and those that an interrupted change has left.
// That they are released is durable before: after a crash, the next try goes on here.
func (p *plugger) unplug(ctx context.Context, s *ledger.Sandbox, remove []network.Interface) (removed []string, err error) {
	marked := false
	for i, a := range s.Attachments {
		if slices.Contains(remove, network.Interface{Network: a.Network, Name: a.IfName}) && a.Selected && a.Hotplug == "" {
			s.Attachments[i].Hotplug, marked = ledger.Unplugging, true
			removed = append(removed, fmt.Sprintf("%s from %s", a.IfName, a.Network))
		}
	}
	if marked {
		if err := p.o.Ledger.PutSandbox(*s); err != nil {
			return nil, fail("record the networks to remove", ByCause, err)
		}
	}
	return removed, p.releaseUnplugged(ctx, s)
}

// releaseUnplugged releases the attachments that are being added or removed, and drops them
// from the record. One that fails stays on record.
func (p *plugger) releaseUnplugged(ctx context.Context, s *ledger.Sandbox) error {
	isUnplugged := func(a ledger.Attachment) bool { return a.Hotplug != "" }
	if !slices.ContainsFunc(s.Attachments, isUnplugged) {
		return nil
	}
	part := *s
	part.Attachments = slices.DeleteFunc(slices.Clone(s.Attachments), func(a ledger.Attachment) bool { return !isUnplugged(a) })
	t := &release{releaser: p.releaser, sandbox: part, programs: p.releaser.searched(part, p.programs), held: devicesOf(part), errs: make([]error, len(part.Attachments))}
	t.undo(ctx, everything)
	p.releaser.noteReturned(t)
	s.Attachments = slices.DeleteFunc(s.Attachments, isUnplugged)
	for _, a := range t.sandbox.Attachments {
		if a.Phase != ledger.Released {
			s.Attachments = append(s.Attachments, a)
		}
	}
	if err := p.o.Ledger.PutSandbox(*s); err != nil {
		return fail("record the removed networks", ByCause, err)
	}
	return errors.Join(t.errs...)
}

// plug adds the networks of selections, whose interfaces have names.
func (p *plugger) plug(ctx context.Context, s *ledger.Sandbox, pod network.Pod, t *turn, all, add []network.Selection) (added []string, err error) {
	if len(add) == 0 {
		return nil, nil
	}
	r := Request{ID: s.ID, Netns: s.Netns.Path, IfName: s.IfName, Pod: s.Pod, Args: argsOf(*s, ""), At: p.o.Now()}
	plan, err := p.planner.more(ctx, r, pod, t, all, add, devicesOf(*s))
	if err != nil {
		return nil, err
	}
	handles := p.o.Chains.Open(s.Netns)
	defer closeHandles(handles)
	before := len(s.Attachments)
	err = p.reserver.reserve(ctx, s, plan, p.programs, handles)
	reportIgnored(p.o.Cluster, s.Pod, plan)
	if err != nil {
		s.Attachments = s.Attachments[:before] // nothing was changed
		return nil, err
	}
	results, err := p.bindMore(ctx, s, before, plan, handles)
	if err != nil {
		return nil, errors.Join(err, p.releaseUnplugged(context.WithoutCancel(ctx), s))
	}
	for i := before; i < len(s.Attachments); i++ {
		a := &s.Attachments[i]
		a.Phase, a.Hotplug = ledger.Bound, ""
		added = append(added, addedText(*a, results[i]))
	}
	return added, nil
}

// bindMore binds the attachments from a position on. It returns the results of all.
func (p *plugger) bindMore(ctx context.Context, s *ledger.Sandbox, from int, plan []planned, handles *attach.Handles) ([]*types100.Result, error) {
	part := *s
	part.Attachments = slices.Clone(s.Attachments[from:])
	_, err := p.binder.bind(ctx, &part, plan, p.programs, handles)
	copy(s.Attachments[from:], part.Attachments)
	if err != nil {
		return nil, err
	}
	results, err := recordedResults(*s)
	if err != nil {
		return nil, err
	}
	whole := append(make([]planned, from), plan...) // no default route moves to the networks before
	return results, p.binder.settleDefaultRoutes(s, whole, results)
}
