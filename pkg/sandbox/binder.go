package sandbox

import (
	"context"
	"fmt"
	"sync"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// binder makes the networks of a sandbox whose intents are durable.
type binder struct {
	chains guarded
	kernel Kernel
	info   deviceInfo
	// secondaryDefaults lets the default routes of secondary networks take the pod's.
	secondaryDefaults bool
}

// bind makes all networks. Built-in ones are made side by side, except for the moment
// in which an interface appears (see order). A program may look at whatever is there,
// and may work on the interfaces before it (a bond), so it starts when all networks
// before it are complete. The first failure stops the rest.
func (b binder) bind(ctx context.Context, sandbox *ledger.Sandbox, plan []planned, p programs, handles *attach.Handles) ([]*types100.Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	results := make([]*types100.Result, len(plan))
	var (
		group sync.WaitGroup
		once  sync.Once
		first error
	)
	order := newOrder(*sandbox, b.kernel.LastIfindex)
	for i := range plan {
		c := call(*sandbox, sandbox.Attachments[i], p, handles)
		c.Order, c.NewSandbox = order.place(i), true
		group.Go(func() { // ends with its network
			defer order.end(i)
			var err error
			results[i], err = b.bindOne(ctx, c, &sandbox.Attachments[i], plan[i])
			if err != nil {
				once.Do(func() {
					first = &Error{Network: plan[i].Network, IfName: plan[i].IfName, Step: "attach", Err: err}
					stop(fmt.Errorf("stopped, because network %s failed", plan[i].Network))
				})
			}
		})
	}
	group.Wait()
	return results, first
}

func (b binder) bindOne(ctx context.Context, c attach.Call, a *ledger.Attachment, n planned) (*types100.Result, error) {
	if program(*a) {
		if err := c.Order.Last(ctx); err != nil {
			a.Phase = ledger.Released // not begun: there is nothing to undo
			return nil, err
		}
	}
	if ctx.Err() != nil {
		a.Phase = ledger.Released
		return nil, context.Cause(ctx)
	}
	if a.DeviceInfo != "" {
		if err := b.info.write(*a, n.Device); err != nil {
			return nil, err
		}
	}
	return b.chains.add(ctx, c, a)
}

// program reports that a plugin's binary makes the network's interface.
func program(a ledger.Attachment) bool {
	return len(a.Members) > 0 && a.Members[0].Plugin == attach.PluginBinary
}
