package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMakeOnce(t *testing.T) {
	dir := t.TempDir()
	built := 0
	build := func(_ context.Context, out string) error { built++; return os.WriteFile(out, []byte("x"), 0o644) }
	a := Artefact{Dir: dir, Name: "disk", Key: Key([]byte("1")), Ext: ".raw"}
	for range 2 {
		if _, err := a.Make(t.Context(), build); err != nil {
			t.Fatal(err)
		}
	}
	if built != 1 {
		t.Errorf("built %d times, want once", built)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	a := Artefact{Dir: t.TempDir(), Name: "disk", Key: "k"}
	boom := errors.New("boom")
	_, err := a.Make(t.Context(), func(_ context.Context, out string) error {
		os.WriteFile(out, []byte("half"), 0o644)
		return boom
	})
	if !errors.Is(err, boom) || a.Present() {
		t.Errorf("err %v, present %v", err, a.Present())
	}
	if left, _ := os.ReadDir(a.Dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOldVersionsGo(t *testing.T) {
	dir := t.TempDir()
	build := func(_ context.Context, out string) error { return os.WriteFile(out, nil, 0o644) }
	other := filepath.Join(dir, "disk-notes.txt")
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var all []Artefact
	for i, in := range []string{"1", "2", "3"} {
		a := Artefact{Dir: dir, Name: "disk", Key: Key([]byte(in)), Ext: ".raw"}
		path, err := a.Make(t.Context(), build)
		if err != nil {
			t.Fatal(err)
		}
		used := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	if all[0].Present() || !all[1].Present() || !all[2].Present() {
		t.Errorf("present: %v %v %v, want the last two", all[0].Present(), all[1].Present(), all[2].Present())
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("a file of another name is gone")
	}
}

func TestKeyTellsInputsApart(t *testing.T) {
	if Key([]byte("ab"), []byte("c")) == Key([]byte("a"), []byte("bc")) {
		t.Error("inputs run into each other")
	}
}
