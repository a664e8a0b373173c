//go:build lab

package e2e

import (
	"context"
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// security sections 1 and 2: a tenant does its everyday work under the strict policy. Each
// attack fails with a text that explains it, and leaves the node and other tenants alone.
func TestTenant(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.TenantNamespaces()...)
	t.Cleanup(func() {
		if err := scenario.DropPolicies(context.Background(), cluster); err != nil {
			t.Error(err)
		}
	})
	tenant, err := scenario.StartTenant(t.Context(), cluster)
	ns := scenario.TenantNamespaces()
	must(t, err, ns...)
	t.Run("everyday", func(t *testing.T) { report(t, tenant.Everyday(t.Context()), ns...) })
	t.Run("attacks", func(t *testing.T) { report(t, tenant.Attack(t.Context()), ns...) })
	t.Run("VLAN link", func(t *testing.T) { report(t, tenant.RouteIn(t.Context()), ns...) })
	t.Run("intruder", func(t *testing.T) { report(t, tenant.Intrude(t.Context()), ns...) })
	t.Run("slow programs", func(t *testing.T) { report(t, tenant.Starve(t.Context()), ns...) })
	t.Run("everything is given back", func(t *testing.T) { report(t, tenant.Gone(t.Context()), ns...) })
}
