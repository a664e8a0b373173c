package gotool

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestCompiled(t *testing.T) {
	for line, want := range map[string]bool{
		"k8s.io/kubernetes/pkg/kubelet":      true,
		"internal/abi":                       true,
		"":                                   false,
		"go: downloading k8s.io/api v0.36.3": false,
		"# k8s.io/kubernetes/pkg/kubelet":    false,
		"pkg/kubelet/kubelet.go:12:2: undefined: missing": false,
	} {
		if _, got := compiled(line); got != want {
			t.Errorf("compiled(%q) = %v, want %v", line, got, want)
		}
	}
}

func TestFollowCountsPackages(t *testing.T) {
	var said []string
	n := &counter{total: 2}
	status := func(format string, args ...any) { said = append(said, strings.TrimSpace(format)) }
	cmd := exec.Command("sh", "-c", "echo 'go: downloading x v1' >&2; echo a/b >&2; echo c/d >&2")
	if err := (Set{}).follow(cmd, n, status); err != nil {
		t.Fatal(err)
	}
	if n.done != 2 || len(said) != 2 {
		t.Errorf("%d packages counted, %d reports, want 2 and 2", n.done, len(said))
	}
}

func TestFollowTellsTheReason(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo a/b >&2; echo 'x.go:1:1: undefined: y' >&2; exit 1")
	err := (Set{}).follow(cmd, &counter{}, func(string, ...any) {})
	if err == nil || !strings.Contains(err.Error(), "undefined: y") {
		t.Errorf("error %v does not carry the compiler's words", err)
	}
}

// The modules of tools must have the programs that the lab builds, at the versions that
// it gives them.
func TestModulesHaveTheTools(t *testing.T) {
	for _, s := range []Set{Kubernetes("../../../.."), Etcd("../../../..")} {
		b, err := os.ReadFile(s.Module + "/go.mod")
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(string(b))
		for _, p := range s.Programs {
			if !slices.Contains(words, p.Package) {
				t.Errorf("%s/go.mod has no tool %s", s.Module, p.Package)
			}
		}
		if s.Name == "kubernetes" && !strings.Contains(string(b), "k8s.io/kubernetes v"+KubernetesVersion) {
			t.Errorf("%s/go.mod pins another version than %s", s.Module, KubernetesVersion)
		}
	}
}
