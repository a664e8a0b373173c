package profile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"fairlead.dev/fairlead/pkg/link"
	"fairlead.dev/fairlead/pkg/pci"
)

func (s SetNumVFs) apply(ctx context.Context, a *Applier) error {
	if s.Back == 0 { // otherwise the step to 0 has reserved the VFs
		vfs, err := a.firstVFs(s.PF, s.From)
		if err != nil {
			return err
		}
		end, err := a.reserve(ctx, s.Target, vfs)
		if err != nil {
			return err
		}
		defer end()
	}
	err := awaitChange(ctx, func() error { return a.FS.SetNumVFs(s.PF, s.To) })
	if err == nil || s.Back == 0 || ctx.Err() != nil { // if ctx has ended, the change may still succeed
		return err
	}
	return s.goBack(a, err)
}

// goBack restores the former number of VFs. The driver may have made some of the new VFs,
// and has to remove these first.
func (s SetNumVFs) goBack(a *Applier, cause error) error {
	err := a.FS.SetNumVFs(s.PF, 0)
	if err == nil {
		err = a.FS.SetNumVFs(s.PF, s.Back)
	}
	if err != nil {
		return fmt.Errorf("%w; and the former %d VFs could not be made again: %w", cause, s.Back, err)
	}
	return &refusedError{s.To, s.Back, cause}
}

// refusedError reports that the PF refused a number of VFs. It has the former number
// again, with new VFs.
type refusedError struct {
	numVFs, back int
	cause        error
}

func (e *refusedError) Error() string {
	return fmt.Sprintf("%v; the former %d VFs are made again", e.cause, e.back)
}

func (e *refusedError) Unwrap() error { return e.cause }

// firstVFs returns the first n VFs of a PF, by index.
func (a *Applier) firstVFs(pf pci.Address, n int) (map[int]pci.Address, error) {
	vfs := map[int]pci.Address{}
	for i := range n {
		addr, err := a.FS.VFAddress(pf, i)
		switch {
		case err == nil:
			vfs[i] = addr
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return vfs, nil
}

// reserve keeps a PF and its VFs from being given to anybody. Then it makes sure that
// nobody has begun to use one since the plan was made.
func (a *Applier) reserve(ctx context.Context, t Target, vfs map[int]pci.Address) (end func(), err error) {
	functions := []pci.Address{t.PF}
	for _, vf := range vfs {
		functions = append(functions, vf)
	}
	end, err = a.Custody.Change(ctx, functions...)
	if err != nil {
		return nil, err
	}
	if err = a.recheck(ctx, t, vfs, functions); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

func (a *Applier) recheck(ctx context.Context, t Target, vfs map[int]pci.Address, functions []pci.Address) error {
	uses, err := a.Custody.Recheck(ctx, functions...)
	if err != nil {
		return err
	}
	if reason := pfInUse(t, uses.ToChange(t.PF)); reason != "" {
		return &inUseError{reason}
	}
	for index, vf := range vfs {
		if err := checkFree(uses, vf, index); err != nil {
			return err
		}
	}
	return nil
}

func (s SetPFMTU) apply(ctx context.Context, a *Applier) error {
	vfs := map[int]pci.Address{}
	for _, vf := range s.VFs {
		vfs[vf.Index] = vf.Address
	}
	end, err := a.reserve(ctx, s.Target, vfs)
	if err != nil {
		return err
	}
	defer end()
	pf, err := a.Links.ByIndex(s.Ifindex)
	if err != nil {
		return err
	}
	return a.setMTU(pf, s.To)
}

func (s SetUp) apply(_ context.Context, a *Applier) error {
	pf, err := a.Links.ByIndex(s.Ifindex)
	if err != nil || pf.Up {
		return err
	}
	if a.Quiet != nil {
		if err := a.Quiet(pf.Name); err != nil {
			a.log().Warn("limiting a PF that is brought up", "pf", pf.Name, "error", err)
		}
	}
	if err := a.Links.SetUp(pf.Index); err != nil {
		return err
	}
	if pf, err = a.Links.ByIndex(pf.Index); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if !pf.Up {
		return errors.New("the driver reported success, but the link is still down")
	}
	return nil
}

func (a *Applier) setMTU(l link.Link, mtu int) error {
	if l.MTU == mtu {
		return nil
	}
	if l.MaxMTU != 0 && mtu > l.MaxMTU {
		return fmt.Errorf("%s supports an MTU of at most %d", l.Name, l.MaxMTU)
	}
	if err := a.Links.SetMTU(l.Index, mtu); err != nil {
		return err
	}
	l, err := a.Links.ByIndex(l.Index)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if l.MTU != mtu {
		return fmt.Errorf("the driver reported success, but the MTU of %s is %d", l.Name, l.MTU)
	}
	return nil
}

// awaitChange stops waiting for a change when ctx ends. The change itself goes on.
func awaitChange(ctx context.Context, change func() error) error {
	result := make(chan error, 1)
	go func() { result <- change() }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
