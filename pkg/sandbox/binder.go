package sandbox

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
)

// binder makes the networks of a sandbox whose intents are durable.
type binder struct {
	chains guarded
	kernel Kernel
	info   deviceInfo
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
	if first != nil {
		return results, first
	}
	return results, b.moveDefaultRoutes(sandbox, plan, results)
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

// moveDefaultRoutes does what default-route in the annotation asks for, and takes the
// routes that it has replaced off the other networks' results: a CHECK must not miss
// them.
func (b binder) moveDefaultRoutes(sandbox *ledger.Sandbox, plan []planned, results []*types100.Result) error {
	for i, n := range plan {
		if len(n.DefaultRoute) == 0 {
			continue
		}
		if err := b.kernel.MoveDefaultRoutes(sandbox.Netns.Path, n.IfName, n.DefaultRoute); err != nil {
			return &Error{Network: n.Network, IfName: n.IfName, Step: "move the default route", Kind: Invalid, Err: err}
		}
		for j, result := range results {
			if !withoutDefaults(result, n.DefaultRoute, i == j) {
				continue
			}
			raw, err := encodeResult(result)
			if err != nil {
				return &Error{Network: plan[j].Network, IfName: plan[j].IfName, Step: "move the default route", Err: err}
			}
			sandbox.Attachments[j].Result = raw
		}
	}
	return nil
}

// withoutDefaults drops the default routes of the gateways' families, except, in the
// network that they moved to, those by way of the gateways themselves.
func withoutDefaults(result *types100.Result, gateways []netip.Addr, moved bool) (changed bool) {
	if result == nil {
		return false
	}
	before := len(result.Routes)
	result.Routes = slices.DeleteFunc(result.Routes, func(r *types.Route) bool {
		ones, _ := r.Dst.Mask.Size()
		if ones != 0 {
			return false
		}
		return slices.ContainsFunc(gateways, func(gw netip.Addr) bool {
			sameFamily := gw.Is4() == (r.Dst.IP.To4() != nil)
			return sameFamily && !(moved && r.GW.Equal(gw.AsSlice()))
		})
	})
	return len(result.Routes) != before
}
