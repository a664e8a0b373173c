package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/test/lab/client"
	"fairlead.dev/fairlead/test/lab/internal/agentapi"
	"fairlead.dev/fairlead/test/lab/internal/config"
)

func TestNotReady(t *testing.T) {
	for out, want := range map[string][]string{
		"":                            {"node1", "node2"},
		"node1=True\nnode2=False\n":   {"node2"},
		"node2=True\nnode1=True\n":    nil,
		"node1=Unknown\nnode2=True\n": {"node1"},
	} {
		if got := notReady(out, config.Nodes()); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", out, got, want)
		}
	}
}

func TestExitCodeIsTheCommands(t *testing.T) {
	var failed *exec.ExitError
	if err := exec.Command("sh", "-c", "exit 3").Run(); !errors.As(err, &failed) {
		t.Fatal(err)
	}
	for err, want := range map[error]int{
		nil:                  0,
		errors.New("broken"): 1,
		fmt.Errorf("node1: %w", &agentapi.ExitError{Code: 7}): 7,
		kubectlError{failed}:                 3,
		fmt.Errorf("mmdebstrap: %w", failed): 1, // a step's failure is the lab's
	} {
		if got := exitCode(err); got != want {
			t.Errorf("exit code of %v: %d, want %d", err, got, want)
		}
	}
}

func TestWithoutLab(t *testing.T) {
	t.Setenv(config.CacheEnv, t.TempDir())
	_, err := client.Open()
	if !errors.Is(err, client.ErrNotRunning) || !strings.Contains(err.Error(), "go run ./test/lab up") {
		t.Errorf("error %v does not say how to start the lab", err)
	}
	l, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.down(t.Context()); err != nil {
		t.Errorf("down without a lab: %v", err)
	}
}

func TestDeepCacheIsRefused(t *testing.T) {
	t.Setenv(config.CacheEnv, "/"+strings.Repeat("deep/", 30))
	if _, err := openLab(); err == nil || !strings.Contains(err.Error(), config.CacheEnv) {
		t.Errorf("error %v does not name %s", err, config.CacheEnv)
	}
}

// The lock must hold until the process ends, even if its file is garbage collected.
func TestLockHolds(t *testing.T) {
	t.Setenv(config.CacheEnv, t.TempDir())
	first, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.lock(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		runtime.GC()
		time.Sleep(20 * time.Millisecond) // finalizers run in a goroutine of their own
	}
	second, err := openLab()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.lock(); err == nil || !strings.Contains(err.Error(), "a lab command, pid") {
		t.Errorf("a second lock: %v, want a refusal", err)
	}
}
