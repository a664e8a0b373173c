package sandbox

import (
	"context"
	"slices"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// Attach makes all networks of a sandbox and returns the primary's result. If one
// fails, all are rolled back.
func (k *Keeper) Attach(ctx context.Context, r Request) (*types100.Result, error) {
	result, err := k.attach(ctx, r)
	k.failures.note(r.Pod, err)
	return result, err
}

func (k *Keeper) attach(ctx context.Context, r Request) (*types100.Result, error) {
	unlock, err := k.locks.lock(ctx, r.ID)
	if err != nil {
		return nil, fail("wait for an earlier call for the same sandbox", TryAgain, err)
	}
	defer unlock()
	netns, err := k.o.Kernel.identify(r.Netns)
	if err != nil {
		return nil, fail("open the sandbox's network namespace", Invalid, err)
	}
	if result, err := k.settleEarlier(ctx, r, netns); result != nil || err != nil {
		return result, err
	}
	handles := k.o.Chains.Open(netns)
	defer closeHandles(handles)
	turn := &turn{turns: k.turns}
	defer turn.end()
	plan, sandbox, err := k.begin(ctx, r, netns, handles, turn)
	if err != nil {
		// Nothing is on record, and nothing was changed: the Release that follows a
		// failed Attach has nothing to do.
		k.released.note(r.ID)
		return nil, err
	}
	results, err := k.binder.bind(ctx, &sandbox, plan, k.programs(r), handles)
	if err == nil {
		err = k.binder.settleDefaultRoutes(&sandbox, plan, results)
	}
	if err == nil {
		err = k.complete(&sandbox, results)
	}
	if err != nil {
		k.rollBack(ctx, r, sandbox)
		return nil, err
	}
	k.addresses.addIfIPv6(sandbox, results)
	k.announce(ctx, sandbox, results)
	k.PodChanged(r.Pod.Namespace, r.Pod.Name) // its annotation may have changed meanwhile
	return results[0], nil
}

// begin plans the networks and makes the intents durable.
func (k *Keeper) begin(ctx context.Context, r Request, netns ledger.Netns, handles *attach.Handles, t *turn) ([]planned, ledger.Sandbox, error) {
	plan, followed, err := k.planner.plan(ctx, r, t)
	if err != nil {
		return nil, ledger.Sandbox{}, err
	}
	sandbox := ledger.Sandbox{ID: r.ID, IfName: r.IfName, Pod: r.Pod, Netns: netns, Path: k.programs(r).path, Created: r.At,
		Annotation: followed}
	err = k.reserver.reserve(ctx, &sandbox, plan, k.programs(r), handles)
	reportIgnored(k.o.Cluster, r.Pod, plan)
	return plan, sandbox, err
}

// settleEarlier deals with a record that the sandbox has already. A second Attach of a
// complete sandbox returns the first one's result: a runtime repeats it only if it has
// not seen the answer. A sandbox that was interrupted, or that was made for another
// namespace, is released first.
func (k *Keeper) settleEarlier(ctx context.Context, r Request, netns ledger.Netns) (*types100.Result, error) {
	old, ok, err := k.o.Ledger.Sandbox(r.ID)
	if err != nil {
		return nil, fail("read the ledger", IO, err)
	}
	if !ok {
		return nil, nil
	}
	if complete(old) && !old.Releasing && !old.EarlierBoot && same(old.Netns, netns) && old.IfName == r.IfName {
		return recordedResult(old.Attachments[0])
	}
	if err := k.releaser.release(ctx, old, k.programs(r), everything); err != nil {
		return nil, fail("undo an earlier ADD of this sandbox", TryAgain, err)
	}
	return nil, nil
}

// complete reports that every network of the sandbox is attached, except for one that is
// just added to the running pod, or removed from it.
func complete(sandbox ledger.Sandbox) bool {
	return len(sandbox.Attachments) > 0 &&
		!slices.ContainsFunc(sandbox.Attachments, func(a ledger.Attachment) bool { return a.Phase != ledger.Bound && a.Hotplug == "" })
}

// complete makes the results durable.
func (k *Keeper) complete(sandbox *ledger.Sandbox, results []*types100.Result) error {
	for i := range sandbox.Attachments {
		sandbox.Attachments[i].Phase = ledger.Bound
	}
	if sandbox.Pod.Name != "" {
		status, err := k.statuses.document(*sandbox, results)
		if err != nil {
			return fail("build the network status", Internal, err)
		}
		sandbox.Status = status
	}
	if err := k.o.Ledger.PutSandbox(*sandbox); err != nil {
		return fail("record the attached networks", ByCause, err)
	}
	return nil
}

// announce writes the status on the pod, and an event. No error of it can fail the
// Attach.
func (k *Keeper) announce(ctx context.Context, sandbox ledger.Sandbox, results []*types100.Result) {
	if sandbox.Pod.Name == "" {
		return
	}
	k.statuses.writeSoon(ctx, sandbox)
	reportAdded(k.o, sandbox, results)
}

// rollBack releases the networks of a failed Attach. It goes on when the caller has
// given up; failures are retried.
func (k *Keeper) rollBack(ctx context.Context, r Request, sandbox ledger.Sandbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := k.releaser.release(ctx, sandbox, k.programs(r), everything); err != nil {
		k.o.Log.Error("rolling back a failed ADD; it will be retried", "sandbox", sandbox.ID, "pod", sandbox.Pod.String(), "error", err)
	}
}

// call makes the Call for the plugins of one attachment.
func call(sandbox ledger.Sandbox, a ledger.Attachment, p programs, handles *attach.Handles) attach.Call {
	return attach.Call{SandboxID: sandbox.ID, IfName: a.IfName, Pod: sandbox.Pod, Network: a.Network, Primary: a.IfName == sandbox.IfName, Netns: sandbox.Netns,
		CNIArgs: a.CNIArgs, Exec: p.exec, Path: p.path, Resource: a.Resource, Handles: handles}
}
