package agent

import (
	"context"

	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/profile"
)

// withholding is custody as profiles need it: the kubelet hears that a VF is being
// changed before it is.
type withholding struct{ node *node }

func (w withholding) Known() profile.Uses { return w.node.custody.View() }

func (w withholding) Change(_ context.Context, fns ...pci.Address) (end func(), err error) {
	return w.node.plugin.Withhold(fns, func(pci.Address) error { return nil })
}

func (w withholding) Recheck(ctx context.Context, fns ...pci.Address) (profile.Uses, error) {
	return w.node.custody.Confirm(ctx, fns...)
}
