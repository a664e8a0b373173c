package shim

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write imports.txt anew")

// The shim starts once for every pod event: each library that it
// links is a decision, made in imports.txt.
func TestImports(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "fairlead.dev/fairlead/cmd/fairlead-cni")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := publicPackages(string(out))
	if *update {
		if err := os.WriteFile("imports.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("imports.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the shim's imports have changed; if that is meant: go test ./cni/shim -run TestImports -update\ngot:\n%s", got)
	}
}

// publicPackages leaves out the standard library's internal packages, which
// change from one Go release to the next.
func publicPackages(deps string) string {
	lines := strings.Fields(deps)
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "internal/") || strings.Contains(l, "/internal/") || strings.HasPrefix(l, "vendor/")
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}
