package netns

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestOpenTellsWhatIsGone(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "unmounted")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	forbidden := filepath.Join(plain, "below-a-file")
	tests := []struct {
		name, path string
		gone       bool
	}{
		{"no path", "", true},
		{"path does not exist", filepath.Join(t.TempDir(), "none"), true},
		{"process has ended", "/proc/4194305/ns/net", true},
		{"bind mount was removed", plain, true},
		{"another error", forbidden, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ns, err := Open(tt.path)
			if err == nil {
				ns.Close()
				t.Fatal("opened")
			}
			if got := IsGone(err); got != tt.gone {
				t.Errorf("IsGone(%v) = %t, want %t", err, got, tt.gone)
			}
		})
	}
	if IsGone(fs.ErrNotExist) {
		t.Error("an error of another package counts as a namespace that is gone")
	}
}

func TestDoReturnsTheFunctionsError(t *testing.T) {
	ns, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	want := errors.New("inside")
	if got := ns.Do(func() error { return want }); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
