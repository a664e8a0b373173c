//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// The files of deployments/examples/scenarios, applied as users apply them.
func TestEverydayScenarios(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.EverydayNamespaces()...)
	everyday, err := scenario.StartEveryday(t.Context(), cluster)
	must(t, err, scenario.EverydayNamespaces()...)
	t.Run("work without a change", func(t *testing.T) {
		report(t, everyday.Check(t.Context()), scenario.EverydayNamespaces()...)
	})
	t.Run("leave nothing behind", func(t *testing.T) {
		report(t, everyday.Gone(t.Context()), scenario.EverydayNamespaces()...)
	})
}
