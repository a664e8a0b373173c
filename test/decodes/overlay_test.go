//go:build root && !decodes

package decodes

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// It runs the tests of the files with the tag decodes. The ceilings are in add_test.go.
func TestWithOverlay(t *testing.T) {
	noticeSources(t)
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := Overlay(strings.TrimSpace(string(goroot)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "test", "-overlay", overlay, "-tags", "root,decodes", "-count=1", "-v", ".")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// noticeSources looks at the sources that the inner `go test` compiles. The outer one
// keeps its result in the cache, and knows of no other process's files.
func noticeSources(t *testing.T) {
	t.Helper()
	for _, dir := range []string{".", "../../cni", "../../pkg"} {
		if err := filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOverlayOfAnUnknownLibrary(t *testing.T) {
	goroot := t.TempDir()
	library := filepath.Join(goroot, "src", "encoding", "json")
	if err := os.MkdirAll(library, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"decode.go", "stream.go"} {
		if err := os.WriteFile(filepath.Join(library, name), []byte("package json\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Overlay(goroot, t.TempDir()); err == nil || !strings.Contains(err.Error(), "adapt the overlay to this version of Go") {
		t.Errorf("got error %v", err)
	}
}
