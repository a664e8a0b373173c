package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Verify checks every network of a sandbox, and reports all that are wrong.
func (k *Keeper) Verify(ctx context.Context, r Request) error {
	unlock, err := k.locks.lock(ctx, r.ID)
	if err != nil {
		return fail("wait for an earlier call for the same sandbox", TryAgain, err)
	}
	defer unlock()
	sandbox, ok, err := k.o.Ledger.Sandbox(r.ID)
	switch {
	case err != nil:
		return fail("read the ledger", IO, err)
	case !ok:
		return fail("check the sandbox", Unknown, errors.New("the sandbox is not in the ledger"))
	case sandbox.Releasing:
		return fail("check the sandbox", TryAgain, fmt.Errorf("the sandbox is being released: %s", sandbox.Failure))
	case !complete(sandbox):
		return fail("check the sandbox", TryAgain, errors.New("the sandbox's ADD was interrupted"))
	case k.o.Kernel.reused(sandbox.Netns):
		return fail("check the sandbox", Internal, fmt.Errorf("the network namespace at %s is another one than the sandbox was made for", sandbox.Netns.Path))
	}
	handles := k.o.Chains.Open(sandbox.Netns)
	defer closeHandles(handles)
	p := k.releaser.searched(sandbox, k.programs(r))
	var errs []error
	for _, a := range sandbox.Attachments {
		if a.DisableCheck || a.Hotplug != "" {
			continue
		}
		if err := k.releaser.chains.check(ctx, call(sandbox, a, p, handles), a); err != nil {
			errs = append(errs, &Error{Network: a.Network, IfName: a.IfName, Step: "check", Err: err})
		}
	}
	return errors.Join(errs...)
}

// Valid is a sandbox's interface that its owner still has.
type Valid struct{ ID, IfName string }

// Collect releases every sandbox that is not valid and was made before r.At: one made
// since the list was drawn up is not in it and yet valid. A sandbox that a call works
// on stays.
func (k *Keeper) Collect(ctx context.Context, r Request, valid ...Valid) error {
	known := map[Valid]bool{}
	for _, v := range valid {
		known[v] = true
	}
	var errs joined
	for _, e := range k.o.Ledger.Entries() {
		if known[Valid{e.ID, e.IfName}] || !e.Created.Before(r.At) {
			continue
		}
		k.reconciler.start(ctx, e, "the runtime does not have it any more", k.programs(r), &errs)
	}
	errs.wait(ctx)
	return errs.err()
}

// ProgramNetworks lists the networks, apart from the primary, whose programs keep state
// that a garbage collection can free: those of CNI 1.1.0 or later. It returns none while
// pods of another meta-plugin run: their interfaces are not on record.
func (k *Keeper) ProgramNetworks() ([]ProgramNetwork, error) {
	if k.o.Previous != nil {
		if left, err := k.o.Previous.Left(); err != nil || left {
			return nil, err
		}
	}
	byName := map[string]*ProgramNetwork{}
	for _, e := range k.o.Ledger.Entries() {
		sandbox, ok, err := k.o.Ledger.Sandbox(e.ID)
		if err != nil {
			return nil, fail("read the ledger", IO, err)
		}
		if !ok { // released meanwhile
			continue
		}
		for i, a := range sandbox.Attachments {
			if err := noteProgramNetwork(byName, sandbox.ID, a, i == 0); err != nil {
				return nil, fail("read the ledger", Internal, err)
			}
		}
	}
	maps.DeleteFunc(byName, func(_ string, n *ProgramNetwork) bool { return len(n.Programs) == 0 })
	all := make([]ProgramNetwork, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, *byName[name])
	}
	return all, nil
}
