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

func TestBoundKeepsTheCause(t *testing.T) {
	cause := errors.New(strings.Repeat("x", 1<<16))
	if err := Bound(cause); !errors.Is(err, cause) || len(err.Error()) > 2010 {
		t.Errorf("%d bytes", len(err.Error()))
	}
	if Bound(nil) != nil {
		t.Error("no error became one")
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
	nested := Join(errors.Join(errs[:20]...), fmt.Errorf("%w, %w", errs[1], errs[3]), errors.Join(errors.Join(errs[20:]...)))
	if text := nested.Error(); strings.Count(text, "\n") != 12 || !strings.Contains(text, "\nerror 0, error 1\n") || !strings.HasSuffix(text, "\nand 9 more errors") {
		t.Errorf("nested: %q", text)
	}
	if err := Join(nil, nil); err != nil {
		t.Errorf("no error: %v", err)
	}
}
