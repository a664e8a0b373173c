package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// manyPages returns a file with branch pages and a free list, and the number of a page of
// each kind.
func manyPages(t testing.TB) (raw []byte, branch, leaf, free int) {
	t.Helper()
	l, path := openTemp(t)
	for i := range 120 {
		if err := l.PutSandbox(sandbox(fmt.Sprintf("%04x", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	raw = readFile(t, path)
	m, ok := findMeta(raw)
	if !ok {
		t.Fatal("no meta page")
	}
	root := int(m.root)
	sandboxes := bucketRoot(t, path)
	branch, free = sandboxes, int(m.freelist)
	if kind := native.Uint16(raw[branch*m.pageSize+8:]); kind != branchPage {
		t.Fatalf("page %d of %d is of type %d, want a branch", branch, root, kind)
	}
	leaf = int(native.Uint64(raw[branch*m.pageSize+pageHeader+8:]))
	return raw, branch, leaf, free
}

// bucketRoot returns the page of the sandboxes.
func bucketRoot(t testing.TB, path string) (id int) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bolt.Tx) error { id = int(tx.Bucket(sandboxesBucket).Root()); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

// m#948, m#1087: pages that bbolt would not survive are reported, each with its reason.
func TestDamagedPages(t *testing.T) {
	good, branch, leaf, free := manyPages(t)
	size := os.Getpagesize()
	put64 := func(at int, v uint64) func([]byte) { return func(raw []byte) { native.PutUint64(raw[at:], v) } }
	put32 := func(at int, v uint32) func([]byte) { return func(raw []byte) { native.PutUint32(raw[at:], v) } }
	put16 := func(at int, v uint16) func([]byte) { return func(raw []byte) { native.PutUint16(raw[at:], v) } }
	tests := []struct {
		name   string
		damage func([]byte)
		want   string
	}{
		{"a branch below itself", put64(branch*size+pageHeader+8, uint64(branch)), "is used twice"},
		{"a branch without pages", put16(branch*size+10, 0), "it is a branch without pages"},
		{"a page beyond the end", put64(branch*size+pageHeader+8, 1<<40), "page 1099511627776 does not exist"},
		{"the header of another page", put64(leaf*size, 3), "has the header of another one"},
		{"an overflow beyond the end", put32(leaf*size+12, 1<<31), "has the header of another one"},
		{"an unknown type", put16(leaf*size+8, 0x20), "its type is 0x20"},
		{"a record beyond the page", put32(leaf*size+pageHeader+12, 1<<31), "a record ends beyond the page"},
		{"more records than there is room for", put16(leaf*size+10, 0xffff), ""},
		{"keys out of order", func(raw []byte) { raw[leaf*size+pageHeader+int(native.Uint32(raw[leaf*size+pageHeader+4:]))] = 'z' }, "is not in order"},
		{"a free list of 2^40 pages", func(raw []byte) {
			put16(free*size+10, bigFreelist)(raw)
			put64(free*size+pageHeader, 1<<40)(raw)
		}, "is no list of 1099511627776 pages"},
		{"a page that is in use and free", func(raw []byte) {
			put16(free*size+10, 1)(raw)
			put64(free*size+pageHeader, uint64(leaf))(raw)
		}, "free list: page " + fmt.Sprint(leaf) + " is used twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := append([]byte{}, good...)
			tt.damage(raw)
			path := filepath.Join(t.TempDir(), "ledger.db")
			write(t, path, raw)
			_, err := open(path, 0)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "mv "+path) {
				t.Errorf("got %v, want ErrDamaged with %q and a remedy", err, tt.want)
			}
			checkRefusal(t, path, raw, err)
		})
	}
	if err := checkPages(good); err != nil {
		t.Errorf("the good file: %v", err)
	}
}

// Records that lie under another key, no version, and a status that is no JSON were
// accepted once.
func TestDamagedRecords(t *testing.T) {
	record := []byte(`{"id":"a","pod":{},"netns":{},"attachments":null}`)
	for _, tt := range []struct {
		bucket, key string
		value       []byte
		want        string
	}{
		{"sandboxes", "other", record, `record "other" of sandboxes is that of "a"`},
		{"allocations", "0000:01:00.1", []byte(`{"device":"0000:01:00.2"}`), `record "0000:01:00.1" of allocations is that of "0000:01:00.2"`},
		{"statuses", "known", []byte("{"), `record "known" of statuses is not JSON`},
		{"meta", "version", nil, "it has records and no format version"},
	} {
		l, path := openTemp(t)
		if err := errors.Join(l.PutSandbox(sandbox("known")), l.Close()); err != nil {
			t.Fatal(err)
		}
		alter(t, path, func(tx *bolt.Tx) error {
			if tt.value == nil {
				return tx.Bucket([]byte(tt.bucket)).Delete([]byte(tt.key))
			}
			return tx.Bucket([]byte(tt.bucket)).Put([]byte(tt.key), tt.value)
		})
		if _, err := open(path, 0); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: got %v, want ErrDamaged with %q", tt.bucket, tt.key, err, tt.want)
		}
	}
}

// The cost of the check at the start of an agent with 250 sandboxes.
func BenchmarkCheckPagesOf250(b *testing.B) {
	l, path := openTemp(b)
	for i := range 250 {
		if err := l.PutSandbox(benchSandbox(fmt.Sprintf("%04x", i), i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	raw := readFile(b, path)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := checkPages(raw); err != nil {
			b.Fatal(err)
		}
	}
}
