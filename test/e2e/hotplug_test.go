//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// The interfaces of a running pod follow its annotation.
func TestHotplug(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.HotplugNamespace)
	pod, err := scenario.StartHotplug(t.Context(), cluster)
	must(t, err, scenario.HotplugNamespace)
	report(t, pod.Cases(t.Context()), scenario.HotplugNamespace)
	report(t, pod.Gone(t.Context()), scenario.HotplugNamespace)
}
