package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"fairlead.dev/fairlead/pkg/view"
	"fairlead.dev/fairlead/test/scenario"
)

// step begins a part of the demo; say is a line within it. Both show the time
// since the start.
func (d *demo) step(what string) {
	fmt.Fprintf(d.out, "\n[%s] %s\n", d.elapsed(), what)
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "[%s]   %s\n", d.elapsed(), fmt.Sprintf(format, args...))
}

func (d *demo) elapsed() string {
	seconds := int(time.Since(d.started).Seconds())
	return fmt.Sprintf("%3d:%02d", seconds/60, seconds%60)
}

// note keeps facts for the table, and shows them now, reasons in full.
func (d *demo) note(facts scenario.Facts) {
	for _, fact := range facts {
		d.say("%s %s", mark(fact), fact.Claim)
		if fact.Err != nil {
			d.say("    %v", fact.Err)
		}
	}
	d.facts = append(d.facts, facts...)
}

func mark(fact scenario.Fact) string {
	if fact.Err != nil {
		return "✗"
	}
	return "✓"
}

func heading(title string) string {
	return title + "\n" + strings.Repeat("─", utf8.RuneCountInString(title))
}

// factTable returns a line per fact: mark, claim, measured value. On a terminal a line is cut
// at its edge; the table is to be read at a glance, and the long text came before.
func factTable(facts scenario.Facts, o view.Options) string {
	width := 0
	for _, fact := range facts {
		width = max(width, utf8.RuneCountInString(fact.Claim))
	}
	var out strings.Builder
	for _, fact := range facts {
		measured := fact.Measured
		if fact.Err != nil {
			measured = "does not hold: " + firstLine(fact.Err.Error())
		}
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(fact.Claim))
		line := cut(strings.TrimRight(mark(fact)+" "+fact.Claim+pad+"  "+measured, " "), o.Width)
		out.WriteString(paint(line, fact.Err == nil, o.Colour) + "\n")
	}
	return out.String()
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

func cut(line string, width int) string {
	runes := []rune(line)
	if width <= 0 || len(runes) <= width {
		return line
	}
	return string(runes[:width-1]) + "…"
}

// paint colours only the mark.
func paint(line string, good, colour bool) string {
	if !colour {
		return line
	}
	code := "31"
	if good {
		code = "32"
	}
	first, size := utf8.DecodeRuneInString(line)
	return "\x1b[" + code + "m" + string(first) + "\x1b[0m" + line[size:]
}
