package sandbox

import (
	"context"
	"fmt"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// adopt finds the networks of a sandbox that another meta-plugin made, and records them
// for their release. It reports whether there are any. The caller holds the sandbox's lock.
//
// Its VFs become the sandbox's in the ledger, under the guard of custody: from here on an
// ADD that needs one waits for the release. A VF that another sandbox holds by now is left
// alone (cni#219).
func (r *releaser) adopt(ctx context.Context, sandbox *ledger.Sandbox, args string) (found bool, err error) {
	if r.previous == nil {
		return false, nil
	}
	was, err := r.previous.Attachments(sandbox.ID, sandbox.IfName, argsOf(*sandbox, args))
	if err != nil { // a damaged file stays so: the primary network is released by its conf
		was.Skipped = append(was.Skipped, err)
	}
	for _, err := range was.Skipped {
		r.log.Error("a network that another meta-plugin made cannot be released", "sandbox", sandbox.ID, "pod", sandbox.Pod.String(), "error", err)
	}
	if len(was.Attachments) == 0 {
		return false, nil
	}
	adopted := *sandbox
	adopted.Attachments, adopted.EarlierBoot = was.Attachments, was.EarlierBoot
	adopted.Previous, adopted.Releasing = true, true
	if was.EarlierBoot { // every VF is new
		leaveDevices(&adopted, func(pci.Address) bool { return true })
	}
	release, err := r.guardDevices(ctx, devicesOf(adopted))
	if err != nil {
		return false, err
	}
	defer release()
	leaveDevices(&adopted, func(device pci.Address) bool {
		holder, _, held := r.ledger.Holder(device)
		return held && holder != sandbox.ID
	})
	if err := r.ledger.PutSandbox(adopted); err != nil {
		return false, fmt.Errorf("record the networks that another meta-plugin made: %w", err)
	}
	if devices := devicesOf(adopted); r.recorded != nil && len(devices) > 0 {
		r.recorded(devices...)
	}
	*sandbox = adopted
	return true, nil
}

func (r *releaser) guardDevices(ctx context.Context, devices []pci.Address) (release func(), err error) {
	if r.guard == nil || len(devices) == 0 {
		return func() {}, nil
	}
	return r.guard(ctx, devices...)
}

// leaveDevices marks devices as returned, so that the release does not touch them.
func leaveDevices(sandbox *ledger.Sandbox, leave func(pci.Address) bool) {
	for _, a := range sandbox.Attachments {
		for i := range a.Members {
			m := &a.Members[i]
			m.DeviceReturned = m.DeviceReturned || !m.Device.IsZero() && leave(m.Device)
		}
	}
}
