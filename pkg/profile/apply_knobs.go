package profile

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/pkg/device"
)

// setAtPF sets the knobs at the PF with one message per VF, and then reads all VFs once.
// The kernel cannot be asked about fewer than all VFs.
func (b *batch) setAtPF(ctx context.Context) {
	sent := b.send(ctx, b.takeAtPF())
	if len(sent) > 0 {
		b.verify(sent)
	}
	for _, vf := range b.vfs {
		vf.releaseIfDone()
	}
}

// takeAtPF returns the steps at the PF, by VF. If some VFs are new, the PF is read first,
// and values that they have by default are not set: not every driver could set them.
func (b *batch) takeAtPF() [][]SetKnob {
	var out [][]SetKnob
	fresh := false
	for _, vf := range b.vfs {
		steps := vf.take(device.AtPF)
		out = append(out, steps)
		fresh = fresh || len(steps) > 0 && steps[0].New
	}
	if !fresh {
		return out
	}
	have, err := b.a.Links.VFs(b.at.Ifindex)
	if err != nil {
		return out // setting the knobs will fail with a better error
	}
	for i := range out {
		out[i] = differing(out[i], have)
	}
	return out
}

func differing(steps []SetKnob, have map[int]device.Settings) []SetKnob {
	var out []SetKnob
	for _, s := range steps {
		if !s.Knob.Same(s.To, have[s.VF]) {
			out = append(out, s)
		}
	}
	return out
}

// send sets the knobs of each VF, and returns the steps that the driver reports as
// successful.
func (b *batch) send(ctx context.Context, perVF [][]SetKnob) []SetKnob {
	var sent []SetKnob
	for _, steps := range perVF {
		if len(steps) == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			b.failures = append(b.failures, failure(steps[0], err))
			break
		}
		sent = append(sent, b.sendVF(steps)...)
	}
	return sent
}

// sendVF sets the knobs of one VF in one message. The kernel stops at the first knob that
// the driver refuses, and does not report which. After an error, each knob gets a message
// of its own, so that a knob that the driver lacks does not prevent the others.
func (b *batch) sendVF(steps []SetKnob) (sent []SetKnob) {
	var all device.Settings
	for _, s := range steps {
		s.Knob.Copy(&all, s.To)
	}
	err := b.a.Links.SetVF(b.at.Ifindex, steps[0].VF, all)
	if err == nil {
		return steps
	}
	for _, s := range steps {
		if len(steps) > 1 {
			err = b.a.Links.SetVF(b.at.Ifindex, s.VF, s.To)
		}
		if err != nil {
			b.failures = append(b.failures, failure(s, err))
			continue
		}
		sent = append(sent, s)
	}
	return sent
}

// verify reads the knobs back: some drivers report success and change nothing.
func (b *batch) verify(sent []SetKnob) {
	have, err := b.a.Links.VFs(b.at.Ifindex)
	for _, s := range sent {
		b.result(s, verified(s, have, err))
	}
}

func verified(s SetKnob, have map[int]device.Settings, readErr error) error {
	now, known := have[s.VF]
	switch {
	case readErr != nil:
		return fmt.Errorf("read back: %w", readErr)
	case !known:
		return errors.New("read back: the PF has no such VF")
	case !s.Knob.Has(now):
		return errors.New("the driver reported success, but does not report the value")
	case !s.Knob.Equal(s.To, now):
		return fmt.Errorf("the driver reported success, but the value is %s", s.Knob.Text(now))
	}
	return nil
}
