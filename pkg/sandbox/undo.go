package sandbox

import (
	"context"
	"errors"
	"slices"
	"sync"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// release is the release of one sandbox under way.
type release struct {
	*releaser
	sandbox  ledger.Sandbox
	programs programs
	markErr  error // of the attempt to record that the sandbox is released
	held     []pci.Address
	errs     []error // by attachment
}

// undo undoes the attachments: built-in ones side by side, after those that are on others
// of the pod, programs in reverse order, the primary last.
func (t *release) undo(ctx context.Context, s share) {
	target := t.sandbox
	if t.kernel.reused(target.Netns) {
		target.Netns = ledger.Netns{} // the links there are another's
	}
	handles := t.chains.chains.Open(target.Netns)
	defer closeHandles(handles)
	one := func(i int) {
		a := &t.sandbox.Attachments[i]
		if err, failed := s.failed[a.IfName]; failed {
			t.errs[i] = err
		} else {
			t.errs[i] = t.undoOne(ctx, call(target, *a, t.programs, handles), a)
		}
	}
	t.deleteLinks(ctx, target.Netns, s)
	builtIn, programs := t.unreleased()
	builtIn = t.undoOnPodLinks(builtIn, one)
	var group sync.WaitGroup
	for _, i := range builtIn {
		group.Go(func() { one(i) })
	}
	if !s.onlyBuiltIn {
		for _, i := range slices.Backward(programs) {
			one(i)
		}
	}
	group.Wait()
}

// undoOnPodLinks undoes, the last first, the built-in networks whose links are on others of
// the pod. It returns the rest of the positions.
func (t *release) undoOnPodLinks(builtIn []int, one func(int)) []int {
	onPod := func(i int) bool { return attach.OnPodLink(t.sandbox.Attachments[i]) }
	for _, i := range slices.Backward(builtIn) {
		if onPod(i) {
			one(i)
		}
	}
	return slices.DeleteFunc(builtIn, onPod)
}

// unreleased returns the positions of the attachments that are still to be undone.
func (t *release) unreleased() (builtIn, programs []int) {
	for i, a := range t.sandbox.Attachments {
		switch {
		case unreleasedProgram(a):
			programs = append(programs, i)
		case a.Phase != ledger.Released:
			builtIn = append(builtIn, i)
		}
	}
	return builtIn, programs
}

// unreleasedProgram reports that releasing the attachment runs a program: that of a
// member, or of an ipam.
func unreleasedProgram(a ledger.Attachment) bool {
	return a.Phase != ledger.Released && !attach.BuiltIn(a)
}

func (t *release) undoOne(ctx context.Context, c attach.Call, a *ledger.Attachment) error {
	err := t.chains.del(ctx, c, a)
	if err = errors.Join(err, t.info.remove(*a)); err != nil {
		return &Error{Network: a.Network, IfName: a.IfName, Step: "release", Err: err}
	}
	a.Phase = ledger.Released
	return nil
}

// deleteLinks deletes the links of several networks in the time of one (an RCU grace
// period, some 20 ms under the node's one lock). It is only for speed: each network's
// undo deletes whatever it still finds.
func (t *release) deleteLinks(ctx context.Context, netns ledger.Netns, s share) {
	var several []ledger.Attachment
	for _, a := range t.sandbox.Attachments {
		if _, failed := s.failed[a.IfName]; !failed && a.Phase != ledger.Released && attach.BuiltIn(a) {
			several = append(several, a)
		}
	}
	if len(several) < 2 || netns.Path == "" {
		return
	}
	if err := t.chains.chains.DeleteLinks(ctx, several, netns); err != nil {
		t.log.Warn("deleting a sandbox's links as a group; they are deleted one by one", "sandbox", t.sandbox.ID, "pod", t.sandbox.Pod.String(), "error", err)
	}
}

// failures are the errors by interface.
func (t *release) failures() map[string]error {
	failed := map[string]error{}
	for i, err := range t.errs {
		if err != nil {
			failed[t.sandbox.Attachments[i].IfName] = err
		}
	}
	return failed
}
