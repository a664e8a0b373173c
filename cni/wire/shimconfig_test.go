package wire

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShimConfig(t *testing.T) {
	dir := trustedDir(t)
	if c, err := LoadShimConfig(dir); !errors.Is(err, fs.ErrNotExist) || c != DefaultShimConfig() || !strings.Contains(err.Error(), "agent installs") {
		t.Errorf("without a file: %+v, %v", c, err)
	}
	want := ShimConfig{Socket: "/run/x/s", TombstoneDir: "/var/x", AgentTimeoutSeconds: 0, TimeoutSeconds: 7}
	for n, changes := range []bool{true, false} {
		if changed, err := want.Install(dir); err != nil || changed != changes {
			t.Errorf("install %d: %v, %v", n, changed, err)
		}
	}
	if got, err := LoadShimConfig(dir); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for name, change := range map[string]func(c *ShimConfig){
		"socket: ":       func(c *ShimConfig) { c.Socket = "run/s" },
		"at most 107":    func(c *ShimConfig) { c.Socket = "/" + strings.Repeat("s", 107) },
		"tombstoneDir":   func(c *ShimConfig) { c.TombstoneDir = "" },
		"agentTimeout":   func(c *ShimConfig) { c.AgentTimeoutSeconds = -1 },
		"timeoutSeconds": func(c *ShimConfig) { c.TimeoutSeconds = 3601 },
	} {
		c := want
		change(&c)
		if _, err := c.Install(dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// S1, S2: a file that somebody else can have written is not believed, and the agent can
// put it right by installing it again.
func TestShimConfigThatIsNotTrusted(t *testing.T) {
	good := DefaultShimConfig()
	tests := map[string]struct {
		spoil func(t *testing.T, dir, file string)
		want  string
		stays bool // Install cannot put it right
	}{
		"group may write":  {func(t *testing.T, _, file string) { chmod(t, file, 0o664) }, "chmod go-w", false},
		"others may write": {func(t *testing.T, _, file string) { chmod(t, file, 0o602) }, "chmod go-w", false},
		"directory may be written": {func(t *testing.T, dir, _ string) {
			chmod(t, dir, 0o775)
		}, "chmod go-w", true},
		"symbolic link": {func(t *testing.T, dir, file string) {
			if err := errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file)); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link", false},
		"directory in its place": {func(t *testing.T, dir, file string) {
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o755)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file", true},
		"of another user": {func(t *testing.T, _, file string) { chown(t, file) }, "chown root", false},
		"directory of another user": {func(t *testing.T, dir, _ string) {
			chown(t, dir)
		}, "chown root", true},
		"no JSON": {func(t *testing.T, _, file string) { write(t, file, "{") }, "parse the shim's settings", false},
		"no socket": {func(t *testing.T, _, file string) {
			write(t, file, `{"socket":""}`)
		}, "socket", false},
		"too large": {func(t *testing.T, _, file string) {
			write(t, file, strings.Repeat(" ", maxShimConfigBytes)+"{}")
		}, "more than", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := trustedDir(t)
			if _, err := good.Install(dir); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, dir, filepath.Join(dir, ShimConfigName))
			c, err := LoadShimConfig(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) || c != DefaultShimConfig() {
				t.Errorf("got %+v, %v", c, err)
			}
			if changed, err := good.Install(dir); (err != nil) != tt.stays || !changed && !tt.stays {
				t.Errorf("installed again: %v, %v", changed, err)
			}
		})
	}
}

// trustedDir is a directory as the shim wants it, whatever the umask.
func trustedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	chmod(t, dir, 0o755)
	return dir
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	if err := os.Chown(path, 1001, 1001); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The name is no network config's, wherever the file lies: libcni reads .json, .conf and
// .conflist, with a leading dot too.
func TestShimConfigNameIsNoConfs(t *testing.T) {
	switch filepath.Ext(ShimConfigName) {
	case ".json", ".conf", ".conflist":
		t.Errorf("%s would be read as a network config", ShimConfigName)
	}
}

// S1: the agent refuses a conf that is not its own.
func TestCheckConf(t *testing.T) {
	tests := []struct {
		stdin   string
		ok, own bool
	}{
		{`{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead","socket":"/old"}`, true, true},
		{`{"name":"fairlead","type":"macvlan","ipam":{"type":"fairlead"}}`, true, false},
		{`{"name":"fairlead","type":"macvlan","Type":"fairlead"}`, true, false},
		{`{"name":"tenants","type":"fairlead"}`, true, false},
		{`{"type":"fairlead"}`, true, false},
		{`{"name":"fairlead","type":7}`, true, false},
		{`null`, true, false},
		{`{`, false, false},
		{`[]`, false, false},
	}
	for _, tt := range tests {
		err := CheckConf([]byte(tt.stdin))
		if (err == nil) != tt.own || errors.Is(err, ErrForeignConf) != (tt.ok && !tt.own) {
			t.Errorf("%s: %v", tt.stdin, err)
		}
	}
}

// S11: a name that a terminal would not show as it is.
func TestValidIfNameIsPrintableASCII(t *testing.T) {
	for name, want := range map[string]bool{"eth0": true, "a.b-c_d@1": true, "a\u202eb": false, "a\u200bb": false, "\x1b[2J": false, "a\x7f": false, "ä": false} {
		if got := ValidIfName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
