package docs

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var packageRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$")

// packages.md names each package of the tree once, with one sentence.
func TestPackagesAreThoseOfTheTree(t *testing.T) {
	text, err := os.ReadFile("design/packages.md")
	if err != nil {
		t.Fatal(err)
	}
	sentences := map[string]string{}
	for _, row := range packageRow.FindAllStringSubmatch(string(text), -1) {
		dir, sentence := row[1], row[2]
		if sentences[dir] != "" {
			t.Errorf("%s is named twice", dir)
		}
		if !strings.HasSuffix(sentence, ".") || strings.Contains(sentence, ". ") {
			t.Errorf("%s: %q is not one sentence", dir, sentence)
		}
		sentences[dir] = sentence
	}
	there := packages(t)
	for _, dir := range there {
		if sentences[dir] == "" {
			t.Errorf("docs/design/packages.md lacks a row: | `%s` | … |", dir)
		}
		delete(sentences, dir)
	}
	for _, dir := range slices.Sorted(maps.Keys(sentences)) {
		t.Errorf("docs/design/packages.md has a row for %s, which is not there", dir)
	}
}

// packages lists the directories that have Go files besides tests.
func packages(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := fs.WalkDir(os.DirFS(".."), ".", func(file string, entry fs.DirEntry, err error) error {
		name, dir := entry.Name(), path.Dir(file)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != "." && (strings.HasPrefix(name, ".") || slices.Contains([]string{"testdata", "bin", "dist"}, name)):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !slices.Contains(dirs, dir):
			dirs = append(dirs, dir)
		}
		return nil
	})
	if err != nil || len(dirs) < 20 {
		t.Fatalf("%d packages, %v", len(dirs), err)
	}
	return dirs
}
