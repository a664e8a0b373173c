package profile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// batch has all steps of the VFs of one PF. It sets the knobs at the PF first, then the
// drivers, then the netdevs. So the PF is read once after its messages, and all netdevs
// are awaited together.
type batch struct {
	a        *Applier
	at       Target
	vfs      []*vfWork
	endPF    func() // ends the reservation of the PF (reserveNew)
	failures []Failure
}

// vfWork is one VF of a batch.
type vfWork struct {
	index   int
	address pci.Address
	steps   []SetKnob // not yet taken
	release func()    // ends the reservation
}

// setKnobs takes the steps of one PF's VFs. It calls endPF when these VFs are reserved.
func (a *Applier) setKnobs(ctx context.Context, steps []SetKnob, endPF func()) []Failure {
	if len(steps) == 0 {
		return nil
	}
	b := &batch{a: a, at: steps[0].Target, endPF: endPF}
	for _, s := range steps {
		if n := len(b.vfs); n == 0 || b.vfs[n-1].index != s.VF {
			b.vfs = append(b.vfs, &vfWork{index: s.VF, address: s.Address, release: func() {}})
		}
		vf := b.vfs[len(b.vfs)-1]
		vf.steps = append(vf.steps, s)
	}
	defer func() {
		for _, vf := range b.vfs {
			vf.release()
		}
	}()
	for _, phase := range []func(context.Context){b.reserve, b.setAtPF, b.bindDrivers, b.setMTUs} {
		if err := ctx.Err(); err != nil {
			b.abandon(err)
			break
		}
		phase(ctx)
	}
	return b.failures
}

// abandon reports the first step that was not taken. The others have the same cause.
func (b *batch) abandon(err error) {
	for _, vf := range b.vfs {
		if len(vf.steps) > 0 {
			b.failures = append(b.failures, failure(vf.steps[0], err))
			return
		}
	}
}

// take removes the steps of one place from the VF's steps and returns them.
func (vf *vfWork) take(place device.Place) []SetKnob {
	var taken, left []SetKnob
	for _, s := range vf.steps {
		if s.Knob.Place == place {
			taken = append(taken, s)
		} else {
			left = append(left, s)
		}
	}
	vf.steps = left
	return taken
}

// result records the outcome of one step, and reports whether it succeeded.
func (b *batch) result(s SetKnob, err error) bool {
	if err != nil {
		b.failures = append(b.failures, failure(s, err))
		return false
	}
	b.a.stepDone(s)
	return true
}

// bindDrivers binds each VF to its group's driver. If that fails, the VF's other steps are
// dropped: they are for a netdev that the VF does not have.
func (b *batch) bindDrivers(ctx context.Context) {
	for _, vf := range b.vfs {
		for _, s := range vf.take(device.AtDevice) {
			if !b.result(s, b.a.bind(ctx, vf.address, s)) {
				vf.steps = nil
			}
		}
		vf.releaseIfDone()
	}
}

func (a *Applier) bind(ctx context.Context, vf pci.Address, s SetKnob) error {
	driver := s.To.Driver
	if device.VFIODriver(driver) && !s.UnsafeDMA && a.FS.IOMMUGroup(vf) < 0 {
		return errNoIOMMU
	}
	if driver == device.KernelDriver {
		driver = "" // no driver_override
	}
	bind := func() error { return awaitChange(ctx, func() error { return a.FS.BindDriver(vf, driver) }) }
	err := bind()
	if !errors.Is(err, sysfs.ErrDriverNotLoaded) {
		return err
	}
	if err := a.LoadModule(ctx, driver); err != nil {
		return fmt.Errorf("load the kernel module %s: %w", driver, err)
	}
	return bind()
}

// errNoIOMMU refuses VFIO before the kernel does: it accepts the driver if VFIO's noiommu mode
// is on.
var errNoIOMMU = errors.New("it has no IOMMU group, so a pod could read and write all memory of the node: " +
	"enable the IOMMU (intel_iommu=on or amd_iommu=on), or accept that with allowUnsafeDMA: true in the group and VFIO's enable_unsafe_noiommu_mode")

const (
	defaultWait = 15 * time.Second
	pollEvery   = 50 * time.Millisecond
)

// setMTUs waits for all netdevs with one deadline, so that several VFs without a netdev
// cost only one wait.
func (b *batch) setMTUs(ctx context.Context) {
	deadline := time.Now().Add(b.a.wait())
	for _, vf := range b.vfs {
		for _, s := range vf.take(device.AtNetdev) {
			l, err := b.a.awaitNetdev(ctx, vf.address, deadline)
			if err == nil {
				err = b.a.setMTU(l, *s.To.MTU)
			}
			b.result(s, err)
		}
		vf.releaseIfDone()
	}
}

func (a *Applier) wait() time.Duration { return cmp.Or(a.Wait, defaultWait) }

// awaitNetdev waits for the netdev of a VF. The driver makes it some time after the VF has
// appeared, and udev renames it then.
func (a *Applier) awaitNetdev(ctx context.Context, vf pci.Address, deadline time.Time) (link.Link, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		l, found, err := a.netdev(vf)
		if found || err != nil {
			return l, err
		}
		select {
		case <-ctx.Done():
			return link.Link{}, a.noNetdev(vf)
		case <-ticker.C:
		}
	}
}

func (a *Applier) noNetdev(vf pci.Address) error {
	driver, err := a.FS.Driver(vf)
	if err != nil {
		return err
	}
	if driver == "" {
		return fmt.Errorf("VF %s has no driver, and so no netdev, after %v: install the module of its kernel driver (lspci -k -s %s names it)", vf, a.wait(), vf)
	}
	return fmt.Errorf("VF %s (driver %s) has no netdev in the host's network namespace after %v", vf, driver, a.wait())
}

// netdev returns the link of a VF. Found is false if the VF has no link, or if the link is
// being renamed at this moment.
func (a *Applier) netdev(vf pci.Address) (l link.Link, found bool, err error) {
	names, err := a.FS.Netdevs(vf)
	if err != nil || len(names) == 0 {
		return link.Link{}, false, err
	}
	l, err = a.Links.ByName(names[0])
	if errors.Is(err, link.ErrNotFound) {
		return link.Link{}, false, nil
	}
	return l, err == nil, err
}
