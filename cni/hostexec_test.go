package cni

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/cni/run"
)

func script(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLocalExec(t *testing.T) {
	e := &HostExec{}
	t.Setenv("SECRET", "of the agent")
	dir := script(t, "p", `read x; echo "$CNI_COMMAND $x $SECRET"`)
	file, err := e.FindInPath("p", []string{"/nonexistent", dir})
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.ExecPlugin(t.Context(), file, []byte("in\n"), []string{"CNI_COMMAND=ADD", "SECRET=leaked"})
	if err != nil || string(out) != "ADD in \n" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := e.FindInPath("q", []string{dir}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if _, err := e.FindInPath("../p", []string{dir}); !errors.Is(err, run.ErrNotFound) {
		t.Errorf("a path: %v", err)
	}
}

func TestPluginErrors(t *testing.T) {
	tests := []struct {
		name, script, want string
		code               uint
	}{
		{"CNI error", `echo '{"code":7,"msg":"bad vlan","details":"5000"}'; exit 1`, "plugin p: bad vlan; 5000", 7},
		{"stderr alone", `echo oops >&2; exit 3`, "exit code 3: oops", 0},
		{"silent", `exit 2`, "exit code 2: it said nothing", 0},
		{"no JSON", `echo broken; exit 1`, "exit code 1: broken", 0},
		{"killed", `kill -9 $$`, "signal: killed", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := (&HostExec{}).ExecPlugin(t.Context(), filepath.Join(script(t, "p", tt.script), "p"), nil, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			var e *types.Error
			if errors.As(err, &e) && e.Code != tt.code {
				t.Errorf("code %d, want %d", e.Code, tt.code)
			}
		})
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	dir := script(t, "p", "echo > "+filepath.Join(t.TempDir(), "x")+"; sleep 1000")
	cancel(errHungUp)
	if _, err := (&HostExec{}).ExecPlugin(ctx, filepath.Join(dir, "p"), nil, nil); err == nil {
		t.Error("ran on")
	}
}
