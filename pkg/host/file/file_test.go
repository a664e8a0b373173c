package file

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf")
	for _, content := range []string{"a longer text", "short"} {
		if err := Replace(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Errorf("got %q, %v; want %q", got, err, content)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left := entries(t, filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left in the directory: %v", left)
	}
}

// A target that cannot be replaced keeps its content, and no temporary file stays.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "conf")
	if err := os.MkdirAll(filepath.Join(path, "sub"), 0o755); err != nil { // a rename does not replace a directory
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x"), 0o644); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if left := entries(t, dir); len(left) != 1 {
		t.Errorf("left in the directory: %v", left)
	}
	if err := Replace(filepath.Join(dir, "missing", "conf"), nil, 0o644); err == nil {
		t.Error("a file was written into a directory that does not exist")
	}
}

func TestReplaceIfDifferent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf")
	steps := []struct {
		content string
		mode    os.FileMode
		want    bool
	}{{"a", 0o644, true}, {"a", 0o644, false}, {"b", 0o644, true}, {"b", 0o600, true}}
	for _, s := range steps {
		if got, err := ReplaceIfDifferent(path, []byte(s.content), s.mode); err != nil || got != s.want {
			t.Errorf("%q %v: written %v, %v; want %v", s.content, s.mode, got, err, s.want)
		}
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
