package cni

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// add makes all networks of a sandbox and returns the primary's result. It makes
// all or none: what was made before a failure is undone.
func (s *Server) add(ctx context.Context, c *call) (types.Result, error) {
	unlock, err := s.locks.lock(ctx, c.ContainerID)
	if err != nil {
		return nil, step("waiting for an earlier call for the same sandbox", types.ErrTryAgainLater, err)
	}
	defer unlock()
	if result, err := s.settleEarlier(ctx, c); result != nil || err != nil {
		return result, err
	}
	plan, err := s.plan(ctx, c)
	if err != nil {
		return nil, err
	}
	sandbox, err := s.reserve(ctx, c, plan)
	if err != nil {
		return nil, err
	}
	results, err := s.bindAll(ctx, c, &sandbox, plan)
	if err == nil {
		err = s.complete(&sandbox, results)
	}
	if err != nil {
		s.undo(ctx, c, sandbox)
		return nil, err
	}
	s.announce(ctx, c, sandbox, results)
	return results[0], nil
}

// settleEarlier deals with a record that the sandbox has already. A second ADD of
// a complete sandbox returns what the first returned: a runtime repeats it only
// where it has not seen the answer. What an interrupted ADD left, or one for
// another namespace, is undone first.
func (s *Server) settleEarlier(ctx context.Context, c *call) (types.Result, error) {
	old, ok, err := s.o.Ledger.Sandbox(c.ContainerID)
	if err != nil || !ok {
		return nil, err
	}
	if complete(old) && !old.Releasing && old.Netns == c.Netns && old.IfName == c.IfName {
		return types100.NewResult(old.Attachments[0].Result)
	}
	if err := s.release(ctx, old, c.exec, s.cniPath(c)); err != nil {
		return nil, step("undoing what an earlier ADD of this sandbox left", types.ErrTryAgainLater, err)
	}
	return nil, nil
}

func complete(sandbox ledger.Sandbox) bool {
	return len(sandbox.Attachments) > 0 &&
		!slices.ContainsFunc(sandbox.Attachments, func(a ledger.Attachment) bool { return a.Phase != ledger.Bound })
}

// reserve makes the sandbox's intents durable; from then on its devices are its
// own. While it looks at them, nobody else may take or give them back: the state
// that it records as the original must not be that of another pod.
func (s *Server) reserve(ctx context.Context, c *call, plan []wanted) (ledger.Sandbox, error) {
	var names []string
	for _, w := range plan {
		if w.Device != "" {
			names = append(names, "device "+w.Device)
		}
	}
	slices.Sort(names) // one order for all, so that two calls never wait for each other
	for _, name := range slices.Compact(names) {
		unlock, err := s.locks.lock(ctx, name)
		if err != nil {
			return ledger.Sandbox{}, step("waiting for "+name, types.ErrTryAgainLater, err)
		}
		defer unlock()
	}
	if err := s.refuseOthersDevices(plan); err != nil {
		return ledger.Sandbox{}, err
	}
	if err := s.freeFromDead(ctx, c, plan); err != nil {
		return ledger.Sandbox{}, err
	}
	sandbox, err := s.prepare(ctx, c, plan)
	if err != nil {
		return sandbox, err
	}
	if err := s.o.Ledger.PutSandbox(sandbox); err != nil {
		return sandbox, step("recording what is to be attached", 0, err)
	}
	return sandbox, nil
}

// refuseOthersDevices keeps a pod that names a device itself from one that the
// kubelet has given to another: that pod may not have its networks yet, or need none.
func (s *Server) refuseOthersDevices(plan []wanted) error {
	for _, w := range plan {
		if !w.Named {
			continue
		}
		allocations, err := s.o.Ledger.Allocations()
		if err != nil {
			return step("reading the ledger", types.ErrIOFailure, err)
		}
		for _, a := range allocations {
			if a.Device == pciAddress(w.Device) {
				return &stepError{Network: w.Network, IfName: w.IfName, Step: "reserving its device", Code: types.ErrInvalidNetworkConfig,
					Err: fmt.Errorf("device %s, which the pod or the network names, is allocated to another pod as %s; request %s in the pod's resources instead of naming a device", w.Device, a.Resource, a.Resource)}
			}
		}
	}
	return nil
}

// freeFromDead releases sandboxes that hold a planned device but are dead: being
// released, without a namespace, or an earlier sandbox of the same pod.
func (s *Server) freeFromDead(ctx context.Context, c *call, plan []wanted) error {
	for _, w := range plan {
		address := pciAddress(w.Device)
		if address.IsZero() {
			continue
		}
		holder, ifName, held := s.o.Ledger.Holder(address)
		if !held || holder == c.ContainerID {
			continue
		}
		err := s.releaseDead(ctx, c, holder)
		if now, _, held := s.o.Ledger.Holder(address); !held || now == c.ContainerID {
			continue // also where something else of that sandbox could not be undone
		}
		if err != nil {
			inUse := &ledger.HeldError{Device: address, Sandbox: holder, IfName: ifName}
			if old, ok, _ := s.o.Ledger.Sandbox(holder); ok {
				inUse.Pod, inUse.Releasing = old.Pod, old.Releasing
			}
			return &stepError{Network: w.Network, IfName: w.IfName, Step: "reserving its device", Err: fmt.Errorf("%w; %w", inUse, err)}
		}
	}
	return nil
}

var errAlive = errors.New("it can be used when that sandbox has been deleted")

func (s *Server) releaseDead(ctx context.Context, c *call, id string) error {
	unlock, free := s.locks.tryLock(id)
	if !free {
		return errAlive // a call for it is under way
	}
	defer unlock()
	old, ok, err := s.o.Ledger.Sandbox(id)
	if err != nil || !ok {
		return err
	}
	samePod := old.Pod.UID != "" && old.Pod == c.pod // the kubelet runs one sandbox of a pod at a time
	if !old.Releasing && !samePod && !s.netnsGone(old.Netns) {
		return errAlive
	}
	return s.release(ctx, old, c.exec, s.cniPath(c))
}

// bindAll makes the attachments: the primary and the built-in ones side by side,
// but for the moment in which an interface appears (see order); the others, which
// are programs that may look at what is there, one after another behind the
// primary. The first failure stops the rest.
func (s *Server) bindAll(ctx context.Context, c *call, sandbox *ledger.Sandbox, plan []wanted) ([]*types100.Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	results := make([]*types100.Result, len(plan))
	var (
		group sync.WaitGroup
		once  sync.Once
		first error
	)
	order := s.newOrder(*sandbox)
	bind := func(i int) {
		defer order.end(i)
		result, err := s.bindOne(ctx, c, *sandbox, i, plan[i], order)
		results[i] = result
		if err != nil {
			once.Do(func() {
				first = &stepError{Network: plan[i].Network, IfName: plan[i].IfName, Step: "attaching", Err: err}
				stop(fmt.Errorf("stopped, because network %s failed", plan[i].Network))
			})
		}
	}
	serial := []int{0}
	for i := 1; i < len(plan); i++ {
		if sandbox.Attachments[i].Kind == kindExec {
			serial = append(serial, i)
		} else {
			group.Go(func() { bind(i) })
		}
	}
	group.Go(func() {
		for _, i := range serial { // after a failure bind only marks the rest
			bind(i)
		}
	})
	group.Wait()
	if first != nil {
		return results, first
	}
	return results, s.moveDefaultRoutes(*sandbox, plan)
}

func (s *Server) bindOne(ctx context.Context, c *call, sandbox ledger.Sandbox, i int, w wanted, order *order) (*types100.Result, error) {
	a := &sandbox.Attachments[i]
	if ctx.Err() != nil {
		a.Phase = ledger.Released // not begun: there is nothing to undo
		return nil, context.Cause(ctx)
	}
	if a.Kind == kindExec {
		if err := wait(ctx, order.made[:i]); err != nil { // a built-in one before it, in its turn
			a.Phase = ledger.Released
			return nil, err
		}
	}
	if a.DeviceInfo != "" {
		if err := s.devinfo.write(*a, w.Device); err != nil {
			return nil, err
		}
	}
	d := s.delegate(sandbox, c.exec, s.cniPath(c))
	result, err := d.bind(ctx, order.place(d.env(), i), a)
	if err != nil {
		return nil, err
	}
	// Also where another network fails: some plugins undo by what they gave.
	a.Result, err = resultJSON(result, resultVersion)
	return result, err
}

func (s *Server) moveDefaultRoutes(sandbox ledger.Sandbox, plan []wanted) error {
	for _, w := range plan {
		if len(w.DefaultRoute) == 0 {
			continue
		}
		if err := s.setRoutes(sandbox.Netns, w.IfName, w.DefaultRoute); err != nil {
			return &stepError{Network: w.Network, IfName: w.IfName, Step: "moving the default route", Code: types.ErrInvalidNetworkConfig, Err: err}
		}
	}
	return nil
}

// complete makes the results durable.
func (s *Server) complete(sandbox *ledger.Sandbox, results []*types100.Result) error {
	for i := range sandbox.Attachments {
		sandbox.Attachments[i].Phase = ledger.Bound
	}
	if sandbox.Pod.Name != "" {
		status, err := s.networkStatus(*sandbox, results)
		if err != nil {
			return step("building the network status", types.ErrInternal, err)
		}
		sandbox.Status = status
	}
	if err := s.o.Ledger.PutSandbox(*sandbox); err != nil {
		return step("recording what was attached", 0, err)
	}
	return nil
}

// announce tells the cluster: the status on the pod, an event for each interface.
// None of it can fail the ADD.
func (s *Server) announce(ctx context.Context, c *call, sandbox ledger.Sandbox, results []*types100.Result) {
	if c.pod.Name == "" {
		return
	}
	s.writeStatusSoon(ctx, sandbox)
	for i, a := range sandbox.Attachments {
		s.o.Cluster.Event(c.pod, "Normal", "AddedInterface",
			fmt.Sprintf("Add %s [%s] from %s", a.IfName, strings.Join(addresses(results[i]), " "), a.Network))
		if a.FallbackFrom != "" {
			s.o.Cluster.Event(c.pod, "Normal", "Fallback",
				fmt.Sprintf("network %s (interface %s) is %s in place of %s: %s", a.Network, a.IfName, a.Kind, a.FallbackFrom, a.FallbackReason))
		}
	}
}

func addresses(r *types100.Result) []string {
	var list []string
	if r != nil {
		for _, ip := range r.IPs {
			list = append(list, ip.Address.String())
		}
	}
	return list
}

// undo releases what a failed ADD has made. It goes on when the runtime has given
// up; what cannot be undone now is retried.
func (s *Server) undo(ctx context.Context, c *call, sandbox ledger.Sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := s.release(ctx, sandbox, c.exec, s.cniPath(c)); err != nil {
		s.log.Error("undoing a failed ADD; it will be retried", "sandbox", sandbox.ID, "pod", sandbox.Pod.String(), "error", err)
	}
}

// fallbackOf is what the status says of a fallback.
func fallbackOf(a ledger.Attachment) *network.FallbackStatus {
	if a.FallbackFrom == "" {
		return nil
	}
	return &network.FallbackStatus{From: a.FallbackFrom, To: a.Kind, Reason: a.FallbackReason}
}
