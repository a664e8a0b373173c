package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOutput(t *testing.T) {
	tests := []struct {
		name, script  string
		stdout, fails string
		code          int
	}{
		{name: "all of it", script: `read x; echo "$x $A"; echo e >&2; pwd >&2; exit 3`, stdout: "in a\n", code: 3},
		{name: "stdin not read", script: `echo ok`, stdout: "ok\n"},
		{name: "too much output", script: `head -c 5000000 /dev/zero`, fails: "wrote more than", stdout: "-"},
		{name: "too much on stderr is cut", script: `head -c 100000 /dev/zero >&2; echo ok`, stdout: "ok\n"},
		{name: "killed by a signal", script: `kill -9 $$`, fails: "signal: killed", code: -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wait, err := Start(t.Context(), Command{File: script(t, tt.script), Env: []string{"A=a", "PATH=" + os.Getenv("PATH")}, Stdin: []byte("in\n")})
			if err != nil {
				t.Fatal(err)
			}
			out, err := wait()
			if (err != nil) != (tt.fails != "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("error %v, want %q", err, tt.fails)
			}
			if out.ExitCode != tt.code || tt.stdout != "-" && string(out.Stdout) != tt.stdout {
				t.Errorf("got %d, %q", out.ExitCode, out.Stdout)
			}
			if len(out.Stdout) > maxStdout || len(out.Stderr) > maxStderr {
				t.Errorf("kept %d and %d bytes", len(out.Stdout), len(out.Stderr))
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	if _, err := Start(t.Context(), Command{File: "/nonexistent/p"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	// m#1221: a binary that is being written is tried again, until the call is given up.
	file := script(t, "true")
	busy, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	for ; tries < 3; tries++ {
		if _, err = start(ctx, Command{File: file}); !errors.Is(err, syscall.ETXTBSY) {
			t.Fatalf("got %v, want ETXTBSY", err)
		}
	}
	cancel()
	if _, err := Start(ctx, Command{File: file}); err == nil {
		t.Error("started though given up")
	}
}

func TestFind(t *testing.T) {
	file := script(t, "true")
	dir := filepath.Dir(file)
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Find("p", "/nonexistent:"+dir); err != nil || got != file {
		t.Errorf("got %s, %v", got, err)
	}
	for _, name := range []string{"", "d", "q", "../p", "/bin/sh", "."} {
		if got, err := Find(name, dir); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: got %s, %v", name, got, err)
		}
	}
}

// S1, the last line: no meta-plugin is run, whatever config asks for it, and every
// program that is run has the marker of a call.
func TestNoMetaPluginIsFound(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"fairlead", "multus", "multus-shim", ".fairlead-shim", ".p.123.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got, err := Find(name, dir); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	wait, err := Start(t.Context(), Command{File: script(t, "echo $FAIRLEAD_CALL")})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := wait(); err != nil || string(out.Stdout) != "1\n" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
}
