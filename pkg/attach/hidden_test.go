package attach

import (
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
)

// withoutPod is a kernel that opens pods' namespaces as the real one does.
type withoutPod struct{ *fakeKernel }

func (withoutPod) At(ns ledger.Netns) (*Links, error) {
	_, err := netns.Open(ns.Path)
	return nil, err
}

// reports 22: CNI_NETNS below a directory that is not mounted into the agent's pod.
func TestNamespaceThatTheAgentDoesNotSee(t *testing.T) {
	dir := t.TempDir()
	set := &Set{kernel: withoutPod{newNode(t, fakeDriver{})}}
	for path, want := range map[string]string{
		filepath.Join(dir, "netns", "cni-1"): "is not visible to the agent: mount its directory",
		filepath.Join(dir, "cni-1"):          "is gone",
	} {
		if _, err := set.enter(Call{Netns: ledger.Netns{Path: path}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
}
