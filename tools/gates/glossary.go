package main

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// glossary says where the nouns are listed, and in which packages they must be unique.
type glossary struct {
	File string   `json:"file"`
	In   []string `json:"in"` // directories, with all below them
}

// noun is a type with one home.
type noun struct{ name, home string }

// codeWord is a name in backquotes.
var codeWord = regexp.MustCompile("`([^`]+)`")

// readGlossary reads the rows of the glossary's table: noun, meaning, types, home. A
// row without a type has nothing to check.
func readGlossary(root string, g glossary) ([]noun, error) {
	text, err := os.ReadFile(filepath.Join(root, g.File))
	if err != nil {
		return nil, err
	}
	var nouns []noun
	for i, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) != 4 {
			continue
		}
		types, homes := codeWords(cells[2]), codeWords(cells[3])
		if len(types) > 0 && len(homes) != 1 {
			return nil, fmt.Errorf("%s:%d: a noun with a type has one home", g.File, i+1)
		}
		for _, t := range types {
			nouns = append(nouns, noun{t, homes[0]})
		}
	}
	if len(nouns) == 0 {
		return nil, fmt.Errorf("%s has no row of the form | noun | means | `Type` | `home` |", g.File)
	}
	return nouns, nil
}

func codeWords(cell string) []string {
	var words []string
	for _, m := range codeWord.FindAllStringSubmatch(cell, -1) {
		words = append(words, m[1])
	}
	return words
}

// homes checks that each noun's type is in its home, and exported by no other package.
func homes(packages []goPackage, nouns []noun, g glossary) []violation {
	exporters := map[string][]string{}
	for _, p := range packages {
		if !g.covers(p.dir) {
			continue
		}
		for name := range p.types() {
			if ast.IsExported(name) {
				exporters[name] = append(exporters[name], p.dir)
			}
		}
	}
	var found []violation
	for _, n := range nouns {
		if !slices.Contains(exporters[n.name], n.home) {
			found = append(found, violation{"home", n.home + "." + n.name, "listed in " + g.File + ", but there is no such type"})
		}
		for _, dir := range exporters[n.name] {
			if dir != n.home {
				found = append(found, violation{"noun", dir + "." + n.name, fmt.Sprintf("%s has its home in %s; use that type, or another noun", n.name, n.home)})
			}
		}
	}
	return found
}

func (g glossary) covers(dir string) bool {
	for _, in := range g.In {
		if dir == in || strings.HasPrefix(dir, in+"/") {
			return true
		}
	}
	return false
}
