// Package fuzz has the bounds that every fuzz target of the project checks, whatever it
// parses: memory, and the text of errors. It has no target of its own: a target lies
// beside the parser.
package fuzz

import (
	"runtime/metrics"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const (
	// A call may allocate this much, however short its input is. The runtime counts small
	// objects when a thread's cache of them is used up, so one call may pay for some before it.
	baseBytes = 4 << 20
	// For each byte of input a call may allocate this much. A decoder that makes a struct of
	// each "{}," stays below it; one that makes a megabyte of a few digits does not.
	bytesPerByte = 500
	// maxErrorBytes bounds an error's text. It goes into events, logs and the answer to the
	// runtime: an input of 64 KiB is not quoted there.
	maxErrorBytes = 8 << 10
)

const heapAllocs = "/gc/heap/allocs:bytes"

// Allocates runs one call and checks the memory that it allocates, freed or not, against the size of
// its input. A fuzz worker is a process with one goroutine, so the difference is the call's.
func Allocates(t testing.TB, inputBytes int, call func()) {
	t.Helper()
	before := allocated()
	call()
	if got, most := allocated()-before, uint64(baseBytes+bytesPerByte*inputBytes); got > most {
		t.Errorf("a call with %d bytes of input allocated %d bytes, the bound is %d", inputBytes, got, most)
	}
}

// allocated reads a counter that stops nothing, unlike runtime.ReadMemStats.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: heapAllocs}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Refused checks the error of an input that is not accepted: it has a text of bounded size
// that a terminal shows as it is (security S11). nil is no error.
func Refused(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	switch {
	case strings.TrimSpace(text) == "":
		t.Error("an error without a text")
	case len(text) > maxErrorBytes:
		t.Errorf("an error of %d bytes, the bound is %d; it begins with %q", len(text), maxErrorBytes, text[:500])
	case !utf8.ValidString(text):
		t.Errorf("an error that is no UTF-8: %q", text)
	}
	if i := strings.IndexFunc(text, notPrintable); i >= 0 {
		t.Errorf("an error with a character that is not printable, at byte %d: %q", i, text)
	}
}

// notPrintable lets pass the line breaks between several errors.
func notPrintable(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
