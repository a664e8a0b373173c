package profile

import (
	"context"
	"slices"
	"sync"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// reservation keeps VFs from being given to anybody until all of them are settled.
type reservation struct {
	open int // VFs that are not settled
	end  func()
}

func (r *reservation) settle() {
	if r.open--; r.open == 0 {
		r.end()
	}
}

// reserve keeps the VFs from being given to anybody, and then makes sure that nobody
// has begun to use one since the plan was made. VFs that need knobs at the PF only are
// a reservation of their own: they do not wait for drivers and netdevs of others.
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
	r := &reservation{open: len(vfs), end: end}
	for _, vf := range vfs {
		if err != nil {
			b.drop(vf, err)
			continue
		}
		vf.release = sync.OnceFunc(r.settle)
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

// recheck drops the VFs that somebody uses by now. If not all can be read at once,
// each is read by itself.
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

// checkFree returns an error if somebody uses the VF. A VF that was made a moment ago is in
// no other namespace: its netdev is still on its way.
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

// drop leaves a VF alone. Its first step stands for all in the report.
func (b *batch) drop(vf *vfWork, err error) {
	b.failures = append(b.failures, failure(vf.steps[0], err))
	vf.steps = nil
	vf.release()
}

// settled gives the VF free again if nothing is left to do.
func (vf *vfWork) settled() {
	if len(vf.steps) == 0 {
		vf.release()
	}
}
