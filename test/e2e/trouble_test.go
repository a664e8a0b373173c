//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// lab.md: an administrator's bad day.
// (lab.md A, links on a pool's VF, is among the attacks of TestTenant.)
func TestNodesInTrouble(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.TroubleNamespace)
	trouble, err := scenario.StartTrouble(t.Context(), cluster)
	ns := scenario.TroubleNamespace
	must(t, err, ns)
	t.Run("started", func(t *testing.T) { report(t, trouble.Started(t.Context()), ns) })
	t.Run("API server away", func(t *testing.T) { report(t, trouble.APIAway(t.Context()), ns) })
	t.Run("runtime killed", func(t *testing.T) { report(t, trouble.RuntimeKilled(t.Context()), ns) })
	t.Run("PF renamed", func(t *testing.T) { report(t, trouble.Renamed(t.Context()), ns) })
	t.Run("everything is given back", func(t *testing.T) { report(t, trouble.Gone(t.Context()), ns) })
	t.Run("ledger lost", func(t *testing.T) { report(t, trouble.LedgerLost(t.Context()), ns) })
}
