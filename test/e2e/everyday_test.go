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
	err := cluster.StartEveryday(t.Context())
	must(t, err, scenario.EverydayNamespaces()...)
	t.Run("work as they stand", func(t *testing.T) {
		report(t, cluster.Everyday(t.Context()), scenario.EverydayNamespaces()...)
	})
	t.Run("leave nothing behind", func(t *testing.T) {
		report(t, cluster.EverydayGone(t.Context()), scenario.EverydayNamespaces()...)
	})
}
