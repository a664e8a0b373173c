package quote

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func Example() {
	fmt.Printf("%q is not a name\n", Cut(strings.Repeat("x", 70)))
	fmt.Println("is not an object:", Plain("[\"a\u202eb\x1b\"]"))
	// Output:
	// "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" is not a name
	// is not an object: ["a\u202eb\x1b"]
}

// S7, S11: no text leaves the bounds, whatever it has.
func TestTextsAreBoundedAndPrintable(t *testing.T) {
	for _, in := range []string{"", "ä", strings.Repeat("ä", 100), "\xff\xfe", "a\n\tb", "\u200b", "'", strings.Repeat("\xff", 100)} {
		for _, got := range []string{Plain(in), fmt.Sprintf("%q", Cut(in)), Message(errors.New(in))} {
			if len(got) > 1000 || strings.ContainsAny(got, "\n\t\u200b") || !utf8.ValidString(got) {
				t.Errorf("%q: %q", in, got)
			}
		}
	}
	if got := Plain("'a\u0085'"); got != `'a\u0085'` {
		t.Errorf("got %s", got)
	}
}

func TestJoin(t *testing.T) {
	var errs []error
	for i := range 20 {
		errs = append(errs, nil, fmt.Errorf("error %d", i))
	}
	lines := strings.Split(Join(errs...).Error(), "\n")
	if len(lines) != 13 || lines[11] != "error 11" || lines[12] != "and 8 more errors" {
		t.Errorf("%q", lines)
	}
	if err := Join(nil, nil); err != nil {
		t.Errorf("no error: %v", err)
	}
}
