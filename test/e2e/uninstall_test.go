//go:build lab

package e2e

import "testing"

// m#1527, m#1155: the last agent to go leaves the node's own CNI configuration,
// and a pod that starts. It is the last test: it removes what the others need.
func TestUninstallRestoresTheNode(t *testing.T) {
	install(t)
	report(t, cluster.Uninstall(t.Context()), "default")
}
