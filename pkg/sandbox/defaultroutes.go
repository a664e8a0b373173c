package sandbox

import (
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// A pod's default route is the primary's, unless the pod asks for another one
// (default-route in its annotation). An ipam that gives a secondary network a default route
// does not know of the primary: the kernel takes the route that was added last.

// settleDefaultRoutes moves the pod's default routes as the plan says, and keeps the others of
// secondary networks behind the primary's. plan and results have the order of the sandbox's
// attachments.
func (b binder) settleDefaultRoutes(sandbox *ledger.Sandbox, plan []planned, results []*types100.Result) error {
	if err := b.moveDefaultRoutes(sandbox, plan, results); err != nil {
		return err
	}
	return b.keepDefaultRoutes(sandbox, results)
}

// moveDefaultRoutes does what default-route in the annotation asks for. It takes the
// routes that it has replaced off the other networks' results, and puts the new one into the
// network's: a CHECK must not miss them, and network-status has the gateway.
func (b binder) moveDefaultRoutes(sandbox *ledger.Sandbox, plan []planned, results []*types100.Result) error {
	for i, n := range plan {
		if len(n.DefaultRoute) == 0 {
			continue
		}
		const step = "move the default route"
		if err := b.kernel.MoveDefaultRoutes(sandbox.Netns.Path, n.IfName, n.DefaultRoute); err != nil {
			return &Error{Network: n.Network, IfName: n.IfName, Step: step, Kind: Invalid, Err: err}
		}
		for j, result := range results {
			changed := withoutDefaults(result, n.DefaultRoute, i == j)
			if i == j {
				changed = withDefaults(result, n.DefaultRoute) || changed
			}
			if !changed {
				continue
			}
			if err := recordResult(sandbox, j, result, step); err != nil {
				return err
			}
		}
	}
	return nil
}

func recordResult(sandbox *ledger.Sandbox, i int, result *types100.Result, step string) error {
	raw, err := encodeResult(result)
	if err != nil {
		return &Error{Network: sandbox.Attachments[i].Network, IfName: sandbox.Attachments[i].IfName, Step: step, Err: err}
	}
	sandbox.Attachments[i].Result = raw
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
		return isDefault(r) && slices.ContainsFunc(gateways, func(gw netip.Addr) bool {
			sameFamily := gw.Is4() == (r.Dst.IP.To4() != nil)
			return sameFamily && !(moved && r.GW.Equal(gw.AsSlice()))
		})
	})
	return len(result.Routes) != before
}

// withDefaults adds the default routes by way of the gateways that the result does not have.
func withDefaults(result *types100.Result, gateways []netip.Addr) (changed bool) {
	if result == nil {
		return false
	}
	for _, gw := range gateways {
		has := func(r *types.Route) bool { return isDefault(r) && r.GW.Equal(gw.AsSlice()) }
		if !slices.ContainsFunc(result.Routes, has) {
			result.Routes = append(result.Routes, &types.Route{Dst: defaultRoute(0, gw).Dst, GW: net.IP(gw.AsSlice())})
			changed = true
		}
	}
	return changed
}

// isDefault reports a default route of the main table.
func isDefault(r *types.Route) bool {
	ones, _ := r.Dst.Mask.Size()
	return ones == 0 && (r.Table == nil || *r.Table == 0 || *r.Table == mainTable)
}

const mainTable = 254

// keepDefaultRoutes puts the default routes of secondary networks behind the primary's
// (meta-cni C4), also those that programs have made. It asks the kernel only if there may be
// one.
func (b binder) keepDefaultRoutes(sandbox *ledger.Sandbox, results []*types100.Result) error {
	var programs []string
	needed := false
	for i := 1; i < len(results); i++ {
		if hasProgram(sandbox.Attachments[i]) {
			programs = append(programs, madeIn(results[i])...)
			needed = true
		}
		needed = needed || results[i] != nil && slices.ContainsFunc(results[i].Routes, isDefault)
	}
	if b.secondaryDefaults || !needed {
		return nil
	}
	const step = "keep the primary network's default route"
	moved, err := b.kernel.KeepDefaultRoutes(sandbox.Netns.Path, append([]string{sandbox.IfName}, madeIn(results[0])...), programs)
	if err != nil {
		return &Error{Network: sandbox.Attachments[0].Network, IfName: sandbox.IfName, Step: step, Err: err}
	}
	for i := 1; i < len(results); i++ {
		if !noteBehind(&sandbox.Attachments[i], results[i], moved) {
			continue
		}
		if err := recordResult(sandbox, i, results[i], step); err != nil {
			return err
		}
	}
	return nil
}

// hasProgram reports that a program has a part in the chain.
func hasProgram(a ledger.Attachment) bool {
	return slices.ContainsFunc(a.Members, func(m ledger.Member) bool { return m.Plugin == attach.PluginBinary })
}

// madeIn lists the pod's interfaces in a result.
func madeIn(result *types100.Result) []string {
	var names []string
	if result != nil {
		for _, i := range result.Interfaces {
			if i.Sandbox != "" {
				names = append(names, i.Name)
			}
		}
	}
	return names
}

// noteBehind writes the metrics of an attachment's moved routes into its result.
func noteBehind(a *ledger.Attachment, result *types100.Result, moved []MovedRoute) (changed bool) {
	if result == nil {
		return false
	}
	own := append([]string{a.IfName}, madeIn(result)...)
	for _, m := range moved {
		if !slices.Contains(own, m.IfName) {
			continue
		}
		a.Behind = append(a.Behind, network.Family(m.IPv4))
		for _, r := range result.Routes {
			if isDefault(r) && (r.Dst.IP.To4() != nil) == m.IPv4 {
				r.Priority, changed = m.Metric, true
			}
		}
	}
	return changed
}
