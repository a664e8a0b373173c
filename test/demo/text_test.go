package main

import (
	"errors"
	"strings"
	"testing"

	"fairlead.dev/fairlead/pkg/view"
	"fairlead.dev/fairlead/test/scenario"
)

func TestFactTable(t *testing.T) {
	facts := scenario.Facts{
		{Claim: "ping over net1", Measured: "20 of 20"},
		{Claim: "VF is back", Err: errors.New("MTU is 9000, want 1500\nand more")},
		{Claim: "gone"},
	}
	want := `✓ ping over net1  20 of 20
✗ VF is back      does not hold: MTU is 9000, want 1500
✓ gone
`
	if got := factTable(facts, view.Options{}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	narrow := factTable(facts, view.Options{Width: 20})
	if first, _, _ := strings.Cut(narrow, "\n"); first != "✓ ping over net1  2…" {
		t.Errorf("at 20 columns the first line is %q", first)
	}
	if got := factTable(facts[2:], view.Options{Colour: true}); got != "\x1b[32m✓\x1b[0m gone\n" {
		t.Errorf("with colour: %q", got)
	}
}
