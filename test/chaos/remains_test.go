package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func readRemains(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := parseRemains(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// A restarted agent has other container ids; a bridge and host-local's counters stay.
func TestEqualMomentsHaveNoDifference(t *testing.T) {
	if wrong := leftOver(readRemains(t, "before.txt"), readRemains(t, "after-restart.txt")); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

func TestEachLeakIsFound(t *testing.T) {
	golden(t, "leaks.golden", leftOver(readRemains(t, "before.txt"), readRemains(t, "leaks.txt")))
}

func TestLedgerKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ledger.db")
	db, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{"meta", "sandboxes", "allocations", "statuses"} {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			if err := b.Put([]byte("key of "+name), []byte("{}")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ledgerKeys(file)
	want := []string{"allocations key of allocations", "sandboxes key of sandboxes", "statuses key of statuses"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("keys %q, %v; want %q", got, err, want)
	}
}
