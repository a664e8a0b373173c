package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// reserver makes a sandbox's intents durable; from then on its devices are its own.
type reserver struct {
	o        Options
	chains   guarded
	locks    *locks
	releaser *releaser
}

// reserve prepares the networks and records them. While it looks at devices, nobody
// else may take or return them: the state that it records as the original must not be
// that of another pod.
func (r reserver) reserve(ctx context.Context, sandbox *ledger.Sandbox, plan []planned, p programs, handles *attach.Handles) error {
	devices := devicesIn(plan)
	unlock, err := r.lockDevices(ctx, devices)
	if err != nil {
		return err
	}
	defer unlock()
	r.releasePredecessors(ctx, *sandbox, p)
	if err := r.freeDevices(ctx, *sandbox, plan, p); err != nil {
		return err
	}
	if len(devices) > 0 && r.o.Guard != nil {
		unguard, err := r.o.Guard(ctx, devices...)
		if err != nil {
			return fail("reserve devices", TryAgain, err)
		}
		defer unguard()
	}
	if err := r.prepare(ctx, sandbox, plan, p, handles); err != nil {
		return err
	}
	if err := r.o.Ledger.PutSandbox(*sandbox); err != nil {
		return refusedByLedger(err, plan)
	}
	return nil
}

// devicesIn lists the devices of a plan by their canonical address, each once and in
// one order for all, so that two calls never wait for each other.
func devicesIn(plan []planned) []pci.Address {
	var devices []pci.Address
	for _, n := range plan {
		if !n.address.IsZero() {
			devices = append(devices, n.address)
		}
		for _, named := range n.Named {
			devices = append(devices, named.Address)
		}
	}
	slices.SortFunc(devices, pci.Address.Compare)
	return slices.Compact(devices)
}

// lockDevices locks devices against other calls.
func (r reserver) lockDevices(ctx context.Context, devices []pci.Address) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, f := range held {
			f()
		}
	}
	for _, device := range devices {
		name := "device " + device.String()
		f, err := r.locks.lock(ctx, name)
		if err != nil {
			unlock()
			return nil, fail("wait for "+name, TryAgain, err)
		}
		held = append(held, f)
	}
	return unlock, nil
}

// prepare makes the records of the networks. Built-in plugins read the state that they
// are going to change; nothing is changed yet.
func (r reserver) prepare(ctx context.Context, sandbox *ledger.Sandbox, plan []planned, p programs, handles *attach.Handles) error {
	for i, n := range plan {
		c := n.prepareCall(*sandbox, p, r.o.Uplinks)
		c.Handles = handles
		c.Ignored = func(field, reason string) {
			plan[i].ignored = append(plan[i].ignored, fmt.Sprintf("field %q: %s", field, reason))
		}
		a, err := r.chains.prepare(ctx, c, n.List)
		if err != nil {
			return &Error{Network: n.Network, IfName: n.IfName, Step: "prepare", Err: err}
		}
		a.Network, a.IfName, a.Phase, a.CNIArgs, a.Resource, a.DeviceInfo = n.Network, n.IfName, ledger.Intent, n.CNIArgs, n.Resource, n.DeviceInfo
		a.Selected, a.Hotplug = !n.Primary && !n.Selection.ByDefault && n.Selection.Position > 0, n.hotplug
		markNamed(&a, n)
		sandbox.Attachments = append(sandbox.Attachments, a)
	}
	return nil
}

func closeHandles(h *attach.Handles) {
	if h != nil {
		h.Close()
	}
}

// refusedByLedger names the network whose device the ledger refuses.
func refusedByLedger(err error, plan []planned) error {
	var allocated *ledger.AllocatedError
	if !errors.As(err, &allocated) {
		return fail("record the networks to attach", ByCause, err)
	}
	refused := &Error{Step: "reserve its device", Kind: Invalid,
		Err: fmt.Errorf("the device that the pod or the network names is allocated to another pod: %w; %s", err, requestRemedy(allocated.Resource))}
	for _, n := range plan {
		names := slices.ContainsFunc(n.Named, func(d network.NamedDevice) bool { return d.Address == allocated.Device })
		if names || n.address == allocated.Device {
			refused.Network, refused.IfName = n.Network, n.IfName
			break
		}
	}
	return refused
}

// releasePredecessors releases every other record of the same pod: the kubelet runs one
// sandbox of a pod at a time. Its addresses may be the ones that the pod asks for. A
// failure is retried by the loop, and counts here only if a device is held.
func (r reserver) releasePredecessors(ctx context.Context, sandbox ledger.Sandbox, p programs) {
	if sandbox.Pod.UID == "" {
		return
	}
	for _, e := range r.o.Ledger.Entries() {
		if e.ID == sandbox.ID || e.Pod != sandbox.Pod {
			continue
		}
		if err := r.releaseDead(ctx, sandbox, e.ID, p); err != nil {
			r.o.Log.Warn("an earlier sandbox of the pod is not released yet", "pod", sandbox.Pod.String(), "sandbox", e.ID, "error", err)
		}
	}
}

// freeDevices releases dead sandboxes that hold a planned device, and fails if a live
// one does.
func (r reserver) freeDevices(ctx context.Context, sandbox ledger.Sandbox, plan []planned, p programs) error {
	for _, n := range plan {
		holder, ifName, held := r.o.Ledger.Holder(n.address)
		if n.address.IsZero() || !held || holder == sandbox.ID {
			continue
		}
		err := r.releaseDead(ctx, sandbox, holder, p)
		if other, _, held := r.o.Ledger.Holder(n.address); !held || other == sandbox.ID {
			continue // even if something else of that sandbox could not be undone
		}
		if err != nil {
			inUse := &ledger.HeldError{Device: n.address, Sandbox: holder, IfName: ifName}
			if old, ok, _ := r.o.Ledger.Sandbox(holder); ok {
				inUse.Pod, inUse.Releasing = old.Pod, old.Releasing
			}
			return &Error{Network: n.Network, IfName: n.IfName, Step: "reserve its device", Err: fmt.Errorf("%w; %w", inUse, err)}
		}
	}
	return nil
}

var errAlive = errors.New("it can be used when that sandbox has been deleted")

// releaseDead releases another sandbox if it is dead: being released, of an earlier
// boot, without a namespace, or an earlier one of the same pod. One that is just being
// released by a call is waited for, for a few seconds.
func (r reserver) releaseDead(ctx context.Context, sandbox ledger.Sandbox, id string, p programs) error {
	wait, cancel := context.WithTimeoutCause(ctx, holderWait, errAlive)
	defer cancel()
	unlock, err := r.locks.lock(wait, id)
	if err != nil {
		return err
	}
	defer unlock()
	old, ok, err := r.o.Ledger.Sandbox(id)
	if err != nil || !ok {
		return err
	}
	samePod := old.Pod.UID != "" && old.Pod == sandbox.Pod
	if !old.Releasing && !old.EarlierBoot && !samePod && !r.o.Kernel.gone(old.Netns) {
		return errAlive
	}
	ctx, stop := context.WithTimeout(ctx, predecessorTimeout)
	defer stop()
	return r.releaser.release(ctx, old, p, everything)
}

// predecessorTimeout bounds the release of another sandbox within an Attach.
const predecessorTimeout = 30 * time.Second
