package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"fairlead.dev/fairlead/pkg/pci"
)

var update = flag.Bool("update", false, "write the golden files again")

// copyFormat1 returns a copy of a ledger that commit cabcdb4 has written.
func copyFormat1(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "format1", name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dump is all that a ledger has on record, as text that a person can compare.
func dump(t testing.TB, l *Ledger) []byte {
	t.Helper()
	sandboxes, err := l.Sandboxes()
	if err != nil {
		t.Fatal(err)
	}
	allocations, err := l.Allocations()
	if err != nil {
		t.Fatal(err)
	}
	var boot string
	if err := l.w.db.View(func(tx *bolt.Tx) error { boot = string(tx.Bucket(metaBucket).Get(bootKey)); return nil }); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(map[string]any{"sandboxes": sandboxes, "allocations": allocations, "boot": boot}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The last format is still read: all of its records, as this release writes them.
func TestFormat1IsConverted(t *testing.T) {
	for _, name := range []string{"busy", "rebooted", "empty"} {
		t.Run(name, func(t *testing.T) {
			path := copyFormat1(t, name+".db")
			l, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			got := dump(t, l)
			golden := filepath.Join("testdata", "format1", name+".json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s differs (-want +got); go test -update writes it again:\n%s", golden, d)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = Open(path); err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if d := cmp.Diff(string(got), string(dump(t, l))); d != "" {
				t.Errorf("opened again (-first +second):\n%s", d)
			}
			checkFile(t, l)
		})
	}
}

// checkFile reads how the file itself is made.
func checkFile(t testing.TB, l *Ledger) {
	t.Helper()
	err := l.w.db.View(func(tx *bolt.Tx) error {
		// An older agent reads the version before anything else, and refuses it.
		if got := string(tx.Bucket([]byte("meta")).Get([]byte("version"))); got != "2" {
			t.Errorf("meta: version %q, want 2", got)
		}
		if tx.Bucket(devicesBucket) != nil {
			t.Error("the index of format 1 is still there")
		}
		for err := range tx.Check() {
			t.Error(err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// The converted records hold their devices.
func TestFormat1KeepsHolders(t *testing.T) {
	tests := []struct {
		file, device, want string
	}{
		{"busy.db", "0000:02:10.0", "aa11 net1"},
		{"busy.db", "0000:02:11.0", "aa11 net2"},
		{"busy.db", "0000:03:10.2", "aa11 net7"}, // of a binary
		{"busy.db", "0000:02:10.2", "bb22 net1"},
		{"busy.db", "0000:02:10.4", "cc33 net1"},
		{"busy.db", "0000:02:11.2", " "}, // DeviceBack
		{"rebooted.db", "0000:02:10.0", "ee55 net1"},
		{"rebooted.db", "0000:02:11.0", " "},
		{"rebooted.db", "0000:03:10.2", "aa11 net7"}, // its program may still touch it
	}
	for _, test := range tests {
		l, err := Open(copyFormat1(t, test.file))
		if err != nil {
			t.Fatal(err)
		}
		id, ifName, _ := l.Holder(pci.MustParseAddress(test.device))
		if got := id + " " + ifName; got != test.want {
			t.Errorf("%s: %s is held by %q, want %q", test.file, test.device, got, test.want)
		}
		if users := l.VLANLinkUsers("pf0.100"); (len(users) == 1) != (test.file == "busy.db") {
			t.Errorf("%s: users of pf0.100: %v", test.file, users)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A record that cannot be converted stops the agent, and changes nothing.
func TestFormat1UnknownKind(t *testing.T) {
	path := copyFormat1(t, "unknown-kind.db")
	before := records(t, path)
	_, err := Open(path)
	want := "convert ledger " + path + ` from format 1: sandbox ff66 of pod demo/zeta: network demo/odd, interface net1: kind "bridge" is unknown; the file is unchanged: run the agent that wrote it, and delete that pod`
	if err == nil || err.Error() != want || errors.Is(err, ErrDamaged) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if d := cmp.Diff(before, records(t, path)); d != "" {
		t.Errorf("the file has changed (-before +after):\n%s", d)
	}
}

func TestFormat1Damaged(t *testing.T) {
	for _, bucket := range []string{"sandboxes", "allocations"} {
		path := copyFormat1(t, "busy.db")
		alter(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte(bucket)).Put([]byte("x"), []byte("{")) })
		before := records(t, path)
		if _, err := Open(path); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "mv "+path) {
			t.Errorf("%s: got %v, want ErrDamaged with a remedy", bucket, err)
		}
		if d := cmp.Diff(before, records(t, path)); d != "" {
			t.Errorf("%s: the file has changed (-before +after):\n%s", bucket, d)
		}
	}
}

// records reads a whole file, of any format.
func records(t testing.TB, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	alter(t, path, func(tx *bolt.Tx) error {
		return tx.ForEach(func(bucket []byte, b *bolt.Bucket) error {
			return b.ForEach(func(key, value []byte) error {
				all[string(bucket)+" "+string(key)] = string(value)
				return nil
			})
		})
	})
	return all
}

func alter(t testing.TB, path string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// An agent that is killed while it converts leaves one format or the other.
func TestFormat1ConversionIsKilled(t *testing.T) {
	const victim = "FAIRLEAD_TEST_CONVERT"
	if path := os.Getenv(victim); path != "" {
		_, err := Open(path)
		t.Log(err)
		return
	}
	l, err := Open(copyFormat1(t, "busy.db"))
	if err != nil {
		t.Fatal(err)
	}
	want := string(dump(t, l))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for i := range 12 {
		path := copyFormat1(t, "busy.db")
		before := records(t, path)
		command := exec.Command(os.Args[0], "-test.run=^TestFormat1ConversionIsKilled$")
		command.Env = append(os.Environ(), victim+"="+path)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		_ = command.Process.Kill()
		_ = command.Wait()
		now := records(t, path)
		seen[now["meta version"]]++
		if now["meta version"] == "1" {
			if d := cmp.Diff(before, now); d != "" {
				t.Fatalf("format 1, but not as before (-before +now):\n%s", d)
			}
		}
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, string(dump(t, l))); d != "" {
			t.Errorf("converted after all (-want +got):\n%s", d)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("left in format: %v", seen)
}
