package netns

import (
	"path/filepath"
	"testing"
)

// reports 22: a namespace whose directory does not exist for the agent is hidden, perhaps not
// gone.
func TestHiddenNamespaces(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]bool{
		filepath.Join(dir, "netns", "cni-1"): true,
		filepath.Join(dir, "cni-1"):          false,
		"/proc/0/ns/net":                     false, // its process has ended
		"":                                   false,
	} {
		if _, err := Open(path); !IsGone(err) || IsHidden(err) != want {
			t.Errorf("%q: %v", path, err)
		}
	}
}
