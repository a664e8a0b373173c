package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A lock of the same process would do, but the holder's end is the point.
func TestWaitsForTheHoldersEnd(t *testing.T) {
	const asHolder = "FAIRLEAD_TEST_LOCK"
	if path := os.Getenv(asHolder); path != "" {
		if err := Try(path, "holder"); err != nil {
			t.Fatal(err)
		}
		fmt.Println("has it")
		fmt.Scanln() // until the parent closes stdin
		return
	}
	path := filepath.Join(t.TempDir(), "dir", "lock")
	holder := exec.Command(os.Args[0], "-test.run=^TestWaitsForTheHoldersEnd$")
	holder.Env = append(os.Environ(), asHolder+"="+path)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	var word string
	if _, err := fmt.Fscan(stdout, &word); err != nil || word != "has" {
		t.Fatalf("the holder says %q, %v", word, err)
	}

	var held *HeldError
	if err := Try(path, "second"); !errors.As(err, &held) || held.Holder != fmt.Sprintf("holder, pid %d", holder.Process.Pid) {
		t.Errorf("got %v, want who holds it", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, path, "second", func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was given up: %v", err)
	}
	var who string
	err = Wait(t.Context(), path, "second", func(w string) {
		who = w
		_ = stdin.Close()
		_ = holder.Wait()
	})
	if err != nil || who != held.Holder {
		t.Errorf("got %v after waiting for %q", err, who)
	}
}
