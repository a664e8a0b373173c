package main

import (
	"go/ast"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// sentence is one of a comment or a document.
type sentence struct {
	file string
	line int
	text string
}

// comments returns the sentences of a package's comments.
func comments(p goPackage) []sentence {
	var out []sentence
	for _, f := range p.files {
		if ast.IsGenerated(f.syntax) {
			continue
		}
		for _, group := range f.syntax.Comments {
			for _, block := range blocks(group) {
				out = append(out, split(path.Join(p.dir, f.name), p.line(group.Pos())+block.line, block.lines)...)
			}
		}
	}
	return out
}

// block is a run of lines that are one piece of prose.
type block struct {
	line  int // of the first one, from the start
	lines []string
}

// blocks splits a comment at empty lines. Directives and indented code are left out.
func blocks(group *ast.CommentGroup) []block {
	var lines []string
	for _, c := range group.List {
		switch text := c.Text; {
		case strings.HasPrefix(text, "//go:"), strings.HasPrefix(text, "//\t"), strings.HasPrefix(text, "//  "):
			lines = append(lines, "")
		case strings.HasPrefix(text, "//"):
			lines = append(lines, strings.TrimPrefix(text, "//"))
		default:
			lines = append(lines, strings.Split(strings.TrimSuffix(strings.TrimPrefix(text, "/*"), "*/"), "\n")...)
		}
	}
	return paragraphs(lines)
}

func paragraphs(lines []string) []block {
	var out []block
	open := false
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" {
			open = false
			continue
		}
		if !open {
			out = append(out, block{line: i})
			open = true
		}
		last := &out[len(out)-1]
		last.lines = append(last.lines, line)
	}
	return out
}

// documents returns the sentences of the Markdown files, by directory. Code, tables'
// rules and headings are left out.
func documents(root string, skip []string) (map[string][]sentence, error) {
	out := map[string][]sentence{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := below(root, file)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			hidden := strings.HasPrefix(entry.Name(), ".") && rest != "."
			if hidden || entry.Name() == "testdata" || slices.Contains(skip, rest) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(file) != ".md" {
			return nil
		}
		text, err := os.ReadFile(file)
		for _, b := range paragraphs(markdown(string(text))) {
			out[path.Dir(rest)] = append(out[path.Dir(rest)], split(rest, b.line+1, b.lines)...)
		}
		return err
	})
	return out, err
}

// markdown returns the lines of prose; a list item or a table's row is a sentence of its own.
func markdown(text string) []string {
	var lines []string
	code := false
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			code = !code
			line = ""
		case code, strings.HasPrefix(line, "    "), strings.HasPrefix(trimmed, "#"), strings.HasPrefix(trimmed, "|--"):
			line = ""
		}
		lines = append(lines, line)
	}
	return lines
}

var (
	// sentenceEnd also ends at a table's cell and a list's item.
	sentenceEnd = regexp.MustCompile(`[.!?][)"'*_]*\s+|\s*\|\s*|:\s*$`)
	inlineCode  = regexp.MustCompile("`[^`]*`")
	listItem    = regexp.MustCompile(`^(?:[-*]|\d+\.)\s+`)
)

// split cuts lines into sentences, and knows the line on which each begins. Code is
// replaced by a placeholder.
func split(file string, line int, lines []string) []sentence {
	var out []sentence
	text, starts := join(lines)
	begin := 0
	add := func(end int) {
		if words := strings.TrimSpace(text[begin:end]); words != "" {
			at := begin + strings.Index(text[begin:end], words[:1])
			out = append(out, sentence{file, line + lineAt(starts, at), words})
		}
	}
	for _, end := range sentenceEnd.FindAllStringIndex(text, -1) {
		add(end[1])
		begin = end[1]
	}
	add(len(text))
	return out
}

// join puts lines into one text and returns where each starts in it.
func join(lines []string) (text string, starts []int) {
	var b strings.Builder
	for _, line := range lines {
		starts = append(starts, b.Len())
		item := listItem.FindString(line)
		if item != "" {
			b.WriteString("| ") // the end of a sentence
		}
		b.WriteString(inlineCode.ReplaceAllString(line[len(item):], "CODE"))
		b.WriteString(" ")
	}
	return b.String(), starts
}

func lineAt(starts []int, at int) int {
	i, found := slices.BinarySearch(starts, at)
	if !found {
		i--
	}
	return i
}
