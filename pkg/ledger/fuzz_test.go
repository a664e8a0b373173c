package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"fairlead.dev/fairlead/test/fuzz"
)

// ledgerFiles returns files of both formats. The last one has pages of every kind.
func ledgerFiles(f *testing.F) [][]byte {
	f.Helper()
	var files [][]byte
	for _, name := range []string{"busy", "rebooted", "empty", "unknown-kind"} {
		files = append(files, readFile(f, filepath.Join("testdata", "format1", name+".db")))
	}
	l, path := openTemp(f)
	for i := range 60 {
		s := sandbox(fmt.Sprintf("%04x", i))
		s.Status = []byte(`[{"name":"n"}]`)
		if err := errors.Join(l.PutSandbox(s), l.PutAllocations([]Allocation{allocation(vf1, "r")})); err != nil {
			f.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		f.Fatal(err)
	}
	return append(files, readFile(f, path))
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A damaged file is a clear error or a ledger that works, and never ends the agent. Bytes of a
// good file are overwritten: four bytes of edits are an offset and a value. The file may be
// cut, and the sums of its meta pages made right again.
func FuzzFile(f *testing.F) {
	files := ledgerFiles(f)
	for base := range files {
		f.Add(uint8(base), []byte{}, uint32(0), false)
	}
	for _, at := range []int{0x2000 + 8, 0x2000 + 10, 0x3000 + 8, 0x3000 + 12, 0x4000 + 10, 0x4000 + 16} {
		f.Add(uint8(len(files)-1), []byte{0, byte(at >> 8), byte(at), 0xff}, uint32(0), false)
	}
	f.Add(uint8(0), []byte{0, 0, 16 + 40, 0xff, 0, 0x10, 16 + 40, 0xff}, uint32(0), true) // the number of pages
	f.Add(uint8(0), []byte{}, uint32(4096*3+17), false)
	f.Fuzz(func(t *testing.T, base uint8, edits []byte, cut uint32, sums bool) {
		raw := bytes.Clone(files[int(base)%len(files)])
		for ; len(edits) >= 4; edits = edits[4:] {
			raw[int(binary.BigEndian.Uint32(edits)>>8)%len(raw)] = edits[3]
		}
		if cut > 0 {
			raw = raw[:int(cut)%len(raw)]
		}
		if sums {
			correctSums(raw)
		}
		checkOpen(t, raw)
	})
}

// correctSums writes the sums that the meta pages should have.
func correctSums(raw []byte) {
	for _, at := range []int{pageHeader, os.Getpagesize() + pageHeader} {
		if at+metaBytes <= len(raw) {
			sum := fnv.New64a()
			_, _ = sum.Write(raw[at:][:metaBytes-8])
			native.PutUint64(raw[at+metaBytes-8:], sum.Sum64())
		}
	}
}

// Any record in a sound file is a clear error or a ledger that works, in both formats.
func FuzzRecords(f *testing.F) {
	files := ledgerFiles(f)
	const one = `{"id":"aa11","pod":{"namespace":"ns","name":"p","uid":"u"},"netns":"/run/netns/x","attachments":[{"network":"ns/a","ifName":"net1","kind":"sriov","phase":"attached",` +
		`"config":{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"sriov"}]},"device":"0000:02:10.0","vf":{"index":1,"netdev":"eth1"},"link":{"ifindex":7}}]}`
	for base := range files {
		f.Add(uint8(base), "sandboxes", []byte("aa11"), []byte(one))
		f.Add(uint8(base), "sandboxes", []byte("other"), []byte(strings.Replace(one, "sriov", "macvlan", 1)))
		f.Add(uint8(base), "allocations", []byte("0000:02:10.0"), []byte(`{"resource":"r","device":"0000:02:10.0","at":"2026-01-01T00:00:00Z"}`))
		f.Add(uint8(base), "statuses", []byte("aa11"), []byte(`[{`))
		f.Add(uint8(base), "meta", []byte("version"), []byte("3"))
		f.Add(uint8(base), "meta", []byte("version"), []byte("2"))
		f.Add(uint8(base), "devices", []byte("x"), []byte("y"))
	}
	f.Add(uint8(2), "sandboxes", bytes.Repeat([]byte("k"), 30000), []byte("{"))
	f.Fuzz(func(t *testing.T, base uint8, bucket string, key, value []byte) {
		path := filepath.Join(fuzz.TempDir(t), "l.db")
		write(t, path, files[int(base)%len(files)])
		db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Minute, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err != nil {
				return err
			}
			return b.Put(key, value)
		})
		if closeErr := db.Close(); closeErr != nil {
			t.Fatal(closeErr)
		}
		if err == nil { // otherwise bbolt refuses the name, the key or the value
			checkOpen(t, readFile(t, path))
		}
	})
}

// checkOpen opens a file with some content. If that works, the ledger must work: it is
// changed, closed and opened again.
func checkOpen(t *testing.T, raw []byte) {
	t.Helper()
	path := filepath.Join(fuzz.TempDir(t), "ledger.db")
	write(t, path, raw)
	var l *Ledger
	var err error
	fuzz.Allocates(t, len(raw), func() { l, err = open(path, 0) })
	if err != nil {
		checkRefusal(t, path, raw, err)
		return
	}
	if _, err := l.Boot("another boot"); err != nil {
		t.Fatal(err)
	}
	if err := l.PutSandbox(sandbox("fuzzed")); err != nil && !errors.Is(err, ErrReleasing) {
		t.Fatal(err)
	}
	want := dump(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = open(path, 0); err != nil {
		t.Fatalf("opened again: %v", err)
	}
	defer l.Close()
	if got := dump(t, l); !bytes.Equal(got, want) {
		t.Errorf("opened again:\n%s\nwant:\n%s", got, want)
	}
}

func checkRefusal(t *testing.T, path string, raw []byte, err error) {
	t.Helper()
	fuzz.Refused(t, err)
	if text := err.Error(); !errors.Is(err, ErrDamaged) && !strings.Contains(text, "has format version") && !strings.Contains(text, "from format 1") {
		t.Errorf("neither damaged nor of another format: %v", err)
	}
	if !bytes.Equal(readFile(t, path), raw) {
		t.Errorf("the file has changed: %v", err)
	}
}
