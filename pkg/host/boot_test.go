package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBootID(t *testing.T) {
	root := t.TempDir()
	if id, err := BootID(root); err == nil {
		t.Errorf("without a file: %q", id)
	}
	path := filepath.Join(root, "proc/sys/kernel/random/boot_id")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ content, want string }{{"one\n", "one"}, {"\n", ""}} {
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := BootID(root); id != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("content %q: id %q, error %v", tt.content, id, err)
		}
	}
}
