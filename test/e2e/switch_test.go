//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// A node is switched from Multus to Fairlead while a pod runs: its DEL is by Multus' files.
// The test installs Fairlead itself.
func TestSwitchFromMultus(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.SwitchNamespace)
	node, err := scenario.StartSwitch(t.Context(), cluster, root)
	must(t, err, scenario.SwitchNamespace)
	report(t, node.Check(t.Context()), scenario.SwitchNamespace)
}
