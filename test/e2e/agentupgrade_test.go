//go:build lab

package e2e

import (
	"errors"
	"testing"

	"fairlead.dev/fairlead/test/earlier"
	"fairlead.dev/fairlead/test/scenario"
)

// earlierCommit is the last one that wrote ledgers of format 1.
const earlierCommit = "cabcdb4"

// Pods of an earlier agent live on under this one, and leave nothing behind. It is the
// first test: the lab's first agent is the earlier one, so that it costs no
// installation of its own.
func TestAgentUpgrade(t *testing.T) {
	if *installed {
		t.Skip("-installed: it installs two versions itself")
	}
	release, err := earlier.Build(t.Context(), root, earlierCommit)
	if errors.Is(err, earlier.ErrNoCommit) {
		leftOut = append(leftOut, t.Name()+": "+err.Error())
		t.Skip(err)
	}
	must(t, err)
	leaveNothing(t, scenario.UpgradeNamespace)
	upgrade, err := scenario.StartUpgrade(t.Context(), cluster, scenario.Version(release), scenario.Version{Root: root, Image: currentImage})
	must(t, err, scenario.UpgradeNamespace)
	ns := scenario.UpgradeNamespace
	t.Run("forward", func(t *testing.T) { report(t, upgrade.Upgraded(t.Context()), ns) })
	t.Run("back", func(t *testing.T) { report(t, upgrade.WentBack(t.Context()), ns) })
	t.Run("everything is given back", func(t *testing.T) { report(t, upgrade.Gone(t.Context()), ns) })
	inLab = !t.Failed()
}
