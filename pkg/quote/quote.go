// Package quote bounds and escapes users' text in messages. Callers
// add the reason and the remedy.
//
// Messages go into events, logs, the runtime's answer and terminals. A tenant who writes
// 64 KiB into a field must not get 64 KiB into each of them (security S7), nor bytes that a
// terminal interprets (security S11).
package quote

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxBytes        = 60  // of a quoted value
	maxMessageBytes = 400 // of a library's message, which may quote a value itself
	maxErrorBytes   = 2000
	maxErrors       = 12 // of one text
)

// Cut bounds a value. The caller escapes it with %q.
func Cut(s string) string { return cut(s, maxBytes) }

func cut(s string, limit int) string {
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// Plain bounds a value and escapes it, for a text without quotes around it.
func Plain(s string) string { return printable(Cut(s)) }

// Message bounds and escapes the message of a library's error.
func Message(err error) string { return printable(cut(err.Error(), maxMessageBytes)) }

// Bound bounds and escapes the text of an error. errors.Is and errors.As still find the
// cause. It is for errors of plugins and libraries, and has room for several values and a
// remedy. nil stays nil.
func Bound(err error) error {
	if err == nil {
		return nil
	}
	return bounded{err}
}

type bounded struct{ error }

func (b bounded) Error() string { return printable(cut(b.error.Error(), maxErrorBytes)) }
func (b bounded) Unwrap() error { return b.error }

// printable escapes the characters that are not visible, as %q does.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// Join is errors.Join with a bounded number of errors. The last line says how many others
// there are.
func Join(errs ...error) error {
	errs = flat(errs)
	if left := len(errs) - maxErrors; left > 0 {
		errs = append(errs[:maxErrors:maxErrors], fmt.Errorf("and %d more errors", left))
	}
	return errors.Join(errs...)
}

// flat takes joined errors apart, and drops nil.
func flat(errs []error) []error {
	var out []error
	for _, err := range errs {
		joined, several := err.(interface{ Unwrap() []error })
		switch {
		case err == nil:
		case several && err.Error() == errors.Join(joined.Unwrap()...).Error():
			out = append(out, flat(joined.Unwrap())...)
		default:
			out = append(out, err)
		}
	}
	return out
}
