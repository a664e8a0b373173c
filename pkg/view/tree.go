package view

import (
	"strings"
	"unicode/utf8"
)

// style is the meaning of a part of a line; the colour follows from it.
type style int

const (
	plain style = iota
	strong
	faint
	good
	warn
	bad
)

// escapes are ANSI SGR codes, which all terminals know.
var escapes = [...]string{plain: "", strong: "1", faint: "2", good: "32", warn: "33", bad: "31"}

// segment is a piece of text that is not broken over two lines unless it must be.
type segment struct {
	text  string
	style style
}

// branch is one line of a tree with the lines below it.
type branch struct {
	parts    []segment
	children []*branch
}

func (b *branch) add(parts ...segment) *branch {
	child := &branch{parts: parts}
	b.children = append(b.children, child)
	return child
}

// minWidth leaves room for the stems of the deepest branch and a few letters.
const minWidth = 24

// tree draws branches into lines of at most width columns; 0 is no limit.
type tree struct {
	out    strings.Builder
	width  int
	colour bool
}

func newTree(width int, colour bool) *tree {
	if width > 0 && width < minWidth {
		width = minWidth
	}
	return &tree{width: width, colour: colour}
}

func (t *tree) root(b *branch) {
	t.line("", stem("", b), b.parts)
	t.below("", b)
}

func (t *tree) below(prefix string, b *branch) {
	for i, child := range b.children {
		joint, next := "├─ ", "│  "
		if i == len(b.children)-1 {
			joint, next = "└─ ", "   "
		}
		t.line(prefix+joint, stem(prefix+next, child), child.parts)
		t.below(prefix+next, child)
	}
}

// stem returns the beginning of a continuation line. It must not cut the lines that lead to the
// branch's children.
func stem(prefix string, b *branch) string {
	if len(b.children) > 0 {
		return prefix + "│ "
	}
	return prefix + "  "
}

const gap = "  "

// line writes the parts, and continues below the first one if they do not fit.
func (t *tree) line(first, next string, parts []segment) {
	column := t.begin(first)
	fresh := true
	for _, p := range parts {
		if !fresh && t.width > 0 && column+len(gap)+columns(p.text) > t.width {
			t.end()
			column, fresh = t.begin(next), true
		}
		if !fresh {
			t.write(gap, plain)
			column += len(gap)
		}
		column = t.part(p, column, next)
		fresh = false
	}
	t.end()
}

// part writes text that may be longer than the rest of the line: an address of 12 characters
// does not fit a phone, and must still be readable.
func (t *tree) part(p segment, column int, next string) int {
	rest := []rune(p.text)
	for t.width > 0 && column+len(rest) > t.width {
		head, tail := breakText(rest, max(t.width-column, 1))
		t.write(string(head), p.style)
		t.end()
		column, rest = t.begin(next), tail
	}
	t.write(string(rest), p.style)
	return column + len(rest)
}

// breakText splits at most room runes off the head, at a blank if there is one.
func breakText(text []rune, room int) (head, tail []rune) {
	for i := room; i > 0; i-- {
		if text[i] == ' ' {
			return text[:i], text[i+1:]
		}
	}
	return text[:room], text[room:]
}

func (t *tree) begin(prefix string) int {
	t.write(prefix, faint)
	return columns(prefix)
}

func (t *tree) end() {
	t.out.WriteByte('\n')
}

func (t *tree) write(text string, s style) {
	if !t.colour || s == plain || text == "" {
		t.out.WriteString(text)
		return
	}
	t.out.WriteString("\x1b[" + escapes[s] + "m" + text + "\x1b[0m")
}

// columns counts runes. Everything that is drawn (names by the rules of Kubernetes and the
// kernel, box characters) is one column wide.
func columns(s string) int { return utf8.RuneCountInString(s) }
