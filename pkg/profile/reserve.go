package profile

import (
	"context"
	"slices"
	"sync"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// reservation keeps VFs from being given to anybody until all of them are released.
type reservation struct {
	vfs int // VFs that are not yet released
	end func()
}

func (r *reservation) releaseOne() {
	if r.vfs--; r.vfs == 0 {
		r.end()
	}
}

// reserve keeps the VFs from being given to anybody. Then it makes sure that nobody has
// begun to use one since the plan was made. VFs that only need knobs at the PF have a
// reservation of their own: they do not wait for drivers and netdevs of others.
func (b *batch) reserve(ctx context.Context) {
	var quick, slow []*vfWork
	for _, vf := range b.vfs {
		if err := b.locate(vf); err != nil {
			b.drop(vf, err)
			continue
		}
		if slices.ContainsFunc(vf.steps, func(s SetKnob) bool { return s.Knob.Place != device.AtPF }) {
			slow = append(slow, vf)
		} else {
			quick = append(quick, vf)
		}
	}
	b.change(ctx, quick)
	b.change(ctx, slow)
	b.endPF()
	b.recheck(ctx)
}

func (b *batch) locate(vf *vfWork) (err error) {
	if vf.address.IsZero() {
		vf.address, err = b.a.FS.VFAddress(b.at.PF, vf.index)
	}
	return err
}

func (b *batch) change(ctx context.Context, vfs []*vfWork) {
	if len(vfs) == 0 {
		return
	}
	end, err := b.a.Custody.Change(ctx, addresses(vfs)...)
	r := &reservation{vfs: len(vfs), end: end}
	for _, vf := range vfs {
		if err != nil {
			b.drop(vf, err)
			continue
		}
		vf.release = sync.OnceFunc(r.releaseOne)
	}
}

func addresses(vfs []*vfWork) []pci.Address {
	var out []pci.Address
	for _, vf := range vfs {
		if len(vf.steps) > 0 {
			out = append(out, vf.address)
		}
	}
	return out
}

// recheck drops the VFs that are in use by now. If they cannot be read together, it reads
// each by itself.
func (b *batch) recheck(ctx context.Context) {
	all, allErr := b.a.Custody.Recheck(ctx, addresses(b.vfs)...)
	for _, vf := range b.vfs {
		if len(vf.steps) == 0 {
			continue
		}
		uses, err := all, allErr
		if err != nil {
			uses, err = b.a.Custody.Recheck(ctx, vf.address)
		}
		if err == nil {
			err = vf.checkFree(uses)
		}
		if err != nil {
			b.drop(vf, err)
		}
	}
}

// checkFree returns an error if the VF is in use. A missing netdev of a new VF is not in
// another namespace: the driver has not made it yet.
func (vf *vfWork) checkFree(uses Uses) error {
	if vf.steps[0].New {
		uses = notNamespace{uses}
	}
	return checkFree(uses, vf.address, vf.index)
}

type notNamespace struct{ Uses }

func (n notNamespace) ToChange(vf pci.Address) []custody.Use {
	return slices.DeleteFunc(n.Uses.ToChange(vf), func(u custody.Use) bool { return u.Kind == custody.Namespace })
}

// drop gives up a VF, and reports its first step for all of them.
func (b *batch) drop(vf *vfWork, err error) {
	b.failures = append(b.failures, failure(vf.steps[0], err))
	vf.steps = nil
	vf.release()
}

// releaseIfDone ends the reservation of a VF that has no more steps.
func (vf *vfWork) releaseIfDone() {
	if len(vf.steps) == 0 {
		vf.release()
	}
}
