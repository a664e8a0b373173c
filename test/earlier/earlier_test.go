package earlier

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuild(t *testing.T) {
	root, commit := repository(t)
	for range 2 { // the second one finds the first one's
		r, err := Build(t.Context(), root, commit)
		if err != nil {
			t.Fatal(err)
		}
		image, err := os.ReadFile(filepath.Join(r.Root, "dist", "fairlead-agent.tar"))
		if err != nil || strings.TrimSpace(string(image)) != "image "+r.Image+" build "+commit {
			t.Errorf("image %q, %v", image, err)
		}
		text, err := os.ReadFile(filepath.Join(r.Root, "deployments", "fairlead.yaml"))
		if err != nil || !strings.Contains(string(text), "image: fairlead.dev/fairlead-agent:"+commit) {
			t.Errorf("manifest %q, %v", text, err)
		}
		if _, err := os.Stat(filepath.Join(r.Root, "deployments", "examples.go")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the release has a Go file (%v): it would be a package of this module", err)
		}
		if err := exec.Command("git", "-C", root, "update-ref", "-d", "HEAD").Run(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBuildOfACommitThatIsNotThere(t *testing.T) {
	root, _ := repository(t)
	_, err := Build(t.Context(), root, "0123456")
	if !errors.Is(err, ErrNoCommit) || !strings.Contains(err.Error(), "0123456: commit is not in this repository's history") {
		t.Errorf("got error %v", err)
	}
}

// repository makes one with a commit whose `make image` writes its arguments.
func repository(t *testing.T) (root, commit string) {
	t.Helper()
	root = t.TempDir()
	for file, text := range map[string]string{
		"Makefile":                  "image:\n\tmkdir -p dist && echo image $(IMAGE) build $(BUILD) > dist/fairlead-agent.tar\n",
		"deployments/fairlead.yaml": "image: fairlead.dev/fairlead-agent:dev\n",
		"deployments/examples.go":   "package deployments\n",
	} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "first"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	out, err := exec.Command("git", "-C", root, "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return root, strings.TrimSpace(string(out))
}
