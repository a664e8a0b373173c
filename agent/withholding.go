package agent

import (
	"context"

	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
)

// withholding gives profiles custody's answers, and has a VF withheld from the kubelet before
// it is changed.
type withholding struct{ node *node }

func (w withholding) Known() profile.Uses { return w.node.custody.View() }

func (w withholding) Change(_ context.Context, fns ...pci.Address) (end func(), err error) {
	return w.node.plugin.Withhold(fns, func(pci.Address) error { return nil })
}

func (w withholding) Recheck(ctx context.Context, fns ...pci.Address) (profile.Uses, error) {
	return w.node.custody.Confirm(ctx, fns...)
}
