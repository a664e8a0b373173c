package fuzz

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// recorder is a test that counts its failures.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Helper()                           {}
func (r *recorder) Error(args ...any)                 { r.failures = append(r.failures, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"field name: \"ä\" is not a name\nfield type: is missing": "",
		" ":                         "without a text",
		"a\x1b[2J":                  "not printable, at byte 1",
		"a\u202eb":                  "not printable",
		"a\xff":                     "no UTF-8",
		strings.Repeat("x", 64<<10): "an error of 65536 bytes",
	} {
		r := &recorder{TB: t}
		Refused(r, errors.New(text))
		if got := strings.Join(r.failures, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%.20q: %q, want %q", text, got, want)
		}
	}
	r := &recorder{TB: t}
	if Refused(r, nil); r.failures != nil {
		t.Errorf("no error: %q", r.failures)
	}
}

var sink []byte

func TestAllocates(t *testing.T) {
	for _, tt := range []struct {
		input, bytes int
		fails        bool
	}{
		{0, 512 << 10, false}, {0, 8 << 20, true}, {64 << 10, 8 << 20, false}, {64 << 10, 64 << 20, true},
	} {
		r := &recorder{TB: t}
		Allocates(r, tt.input, func() { sink = make([]byte, tt.bytes) })
		if (len(r.failures) > 0) != tt.fails {
			t.Errorf("%d bytes for %d of input: %q", tt.bytes, tt.input, r.failures)
		}
	}
}
