package guestos

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCPIO(t *testing.T) {
	files := map[string]File{
		"init":               {Mode: 0o755, Data: []byte("#!/bin/sh\n")},
		"lab/node/token":     {Mode: 0o600, Data: []byte("secret")},
		"proc":               {Mode: fs.ModeDir | 0o755},
		"/absolute/./is/cut": {Mode: 0o644},
	}
	var b bytes.Buffer
	if err := WriteCPIO(&b, files); err != nil {
		t.Fatal(err)
	}
	if b.Len()%512 != 0 {
		t.Errorf("archive of %d bytes does not end at a block", b.Len())
	}
	got := names(t, b.Bytes())
	want := []string{"absolute", "absolute/is", "absolute/is/cut", "init", "lab", "lab/node", "lab/node/token", "proc", "TRAILER!!!"}
	if !slices.Equal(got, want) {
		t.Errorf("entries %v, want %v", got, want)
	}
}

// names walks the archive as the kernel does.
func names(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	for off := 0; off < len(b); {
		if !bytes.HasPrefix(b[off:], []byte("070701")) {
			if len(bytes.Trim(b[off:], "\x00")) == 0 {
				break
			}
			t.Fatalf("no header at %d", off)
		}
		size, nameSize := hex(t, b[off+54:off+62]), hex(t, b[off+94:off+102])
		out = append(out, string(b[off+110:off+110+nameSize-1]))
		off = align(off + 110 + nameSize)
		off = align(off + size)
	}
	return out
}

func hex(t *testing.T, b []byte) int {
	t.Helper()
	n := 0
	for _, c := range strings.ToLower(string(b)) {
		n = n*16 + strings.IndexRune("0123456789abcdef", c)
	}
	return n
}

func align(n int) int { return (n + 3) &^ 3 }

func TestNodeInitrdIsAligned(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	if err := os.WriteFile(base, []byte("12345"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	if err := WriteNodeInitrd(out, base, map[string]File{"x": {Mode: 0o600}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(b, []byte("070701")); at != 8 {
		t.Errorf("second archive begins at %d, want 8", at)
	}
}

func TestPickAptOptions(t *testing.T) {
	dump := `Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::Languages "none";
`
	got := pickAptOptions(dump)
	want := []string{
		`--aptopt=Acquire::http::Proxy "http://proxy.example:3128"`,
		`--aptopt=Acquire::https::CaInfo "/etc/ssl/own.pem"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
