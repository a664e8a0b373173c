//go:build lab

package e2e

import (
	"testing"

	"fairlead.dev/fairlead/test/scenario"
)

// The main job from pods with VFs to VFs that are as they were, with the agent
// killed and the kubelet restarted in between. The order matters.
//
// m#1239: a DEL while the agent is away leaks nothing. dp#565: capacity is back
// after a kubelet restart. cni#349, dp#685: after DEL the VF is there, clean.
func TestMainJob(t *testing.T) {
	install(t)
	leaveNothing(t, scenario.MainNamespace)
	job, err := scenario.StartMainJob(t.Context(), cluster)
	must(t, err, scenario.MainNamespace)
	ns := scenario.MainNamespace
	t.Run("pods with VFs reach their own VLAN, and no other", func(t *testing.T) { report(t, job.Connectivity(t.Context()), ns) })
	t.Run("VFs are as asked", func(t *testing.T) { report(t, job.Knobs(t.Context()), ns) })
	t.Run("VF in userspace", func(t *testing.T) { report(t, job.Userspace(t.Context()), ns) })
	t.Run("fallback", func(t *testing.T) { report(t, job.Fallback(t.Context()), ns) })
	t.Run("agent killed", func(t *testing.T) { report(t, job.AgentKilled(t.Context()), ns) })
	t.Run("kubelet restarted", func(t *testing.T) { report(t, job.KubeletRestarted(t.Context()), ns) })
	t.Run("everything is given back", func(t *testing.T) { report(t, job.GiveBack(t.Context()), ns) })
}
