//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// dp#258, dp#490: each fault's text names the pod, the network, the field, the
// reason and the remedy. cni#115: a pod that failed leaves nothing behind.
func TestBadInputIsExplainedAndUndone(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.BadNamespace)
	err := scenario.StartBadInput(t.Context(), cluster)
	must(t, err, scenario.BadNamespace)
	t.Run("explained", func(t *testing.T) { report(t, scenario.BadInput(t.Context(), cluster), scenario.BadNamespace) })
	t.Run("undone", func(t *testing.T) { report(t, scenario.BadInputGone(t.Context(), cluster), scenario.BadNamespace) })
}

// cni#219 and the like: a VF that vanishes under its pod is reported, the pod can
// be deleted, and the pool is whole again.
func TestVanishedVFIsReportedAndReplaced(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.VanishedNamespace)
	facts := scenario.VanishedVF(t.Context(), cluster)
	report(t, facts, scenario.VanishedNamespace)
}
