//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// m#1527, m#1155: the last agent to go leaves the node's own CNI configuration,
// and a pod that starts. It is the last test: the others need Fairlead.
func TestUninstallRestoresTheNode(t *testing.T) {
	install(t)
	report(t, scenario.Uninstall(t.Context(), cluster), "default")
}
