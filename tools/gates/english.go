package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// english lists the patterns of words that the project avoids.
type english struct {
	Patterns []pattern `json:"patterns"`
	// WordsPerSentence is the largest number that is no hit; 0 is no limit.
	WordsPerSentence int `json:"wordsPerSentence"`
}

// pattern is tried on each sentence.
type pattern struct {
	Find   string `json:"find"`   // regular expression
	Unless string `json:"unless"` // regular expression of the sentence; it is no hit then
	Say    string `json:"say"`    // the remedy

	find, unless *regexp.Regexp
}

func (e english) compile() error {
	for i := range e.Patterns {
		p := &e.Patterns[i]
		var err, errUnless error
		p.find, err = regexp.Compile(p.Find)
		if p.Unless != "" {
			p.unless, errUnless = regexp.Compile(p.Unless)
		}
		if err := errors.Join(err, errUnless); err != nil {
			return fmt.Errorf("english.patterns[%d]: %w", i, err)
		}
	}
	return nil
}

// hit is a sentence that a pattern finds.
type hit struct {
	sentence
	say string
}

// String is a line of the report.
func (h hit) String() string {
	text := h.text
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "…"
	}
	return fmt.Sprintf("%s:%d: %s: %s", h.file, h.line, h.say, text)
}

// search returns at most one hit per sentence and pattern.
func (e english) search(sentences []sentence) []hit {
	var hits []hit
	for _, s := range sentences {
		for _, p := range e.Patterns {
			if p.find.MatchString(s.text) && (p.unless == nil || !p.unless.MatchString(s.text)) {
				hits = append(hits, hit{s, p.Say})
			}
		}
		if n := len(strings.Fields(s.text)); e.WordsPerSentence > 0 && n > e.WordsPerSentence {
			hits = append(hits, hit{s, fmt.Sprintf("%d words: make it two sentences", n)})
		}
	}
	return hits
}

// checkEnglish counts hits per directory and compares with the ceilings. A directory
// without a ceiling may have no hit.
func checkEnglish(o options, c config, packages []goPackage, out io.Writer) ([]violation, error) {
	prose, err := documents(o.root, c.Skip)
	if err != nil {
		return nil, err
	}
	for _, p := range packages {
		prose[p.dir] = append(prose[p.dir], comments(p)...)
	}
	ceilings, err := readCeilings(filepath.Join(o.root, o.ceilings))
	if err != nil {
		return nil, err
	}
	var found []violation
	counts, total, allowed := map[string]int{}, 0, 0
	for _, dir := range slices.Sorted(maps.Keys(prose)) {
		hits := c.English.search(prose[dir])
		above := len(hits) > ceilings[dir]
		if above || o.hits {
			for _, h := range hits {
				fmt.Fprintln(out, h)
			}
		}
		if above {
			found = append(found, violation{"english", dir, fmt.Sprintf("%d hits, at most %d; see the hits above", len(hits), ceilings[dir])})
		}
		counts[dir], total, allowed = len(hits), total+len(hits), allowed+ceilings[dir]
	}
	fmt.Fprintf(out, "gates: english: %d hits, ceiling %d\n", total, allowed)
	if o.lower {
		return found, writeCeilings(filepath.Join(o.root, o.ceilings), ceilings, counts)
	}
	return found, nil
}

func readCeilings(path string) (map[string]int, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ceilings := map[string]int{}
	if err := yaml.UnmarshalStrict(text, &ceilings); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ceilings, nil
}

const ceilingsHead = `# How many sentences of a directory's comments and documents may have words that
# gates.yaml lists. A number may only go down: 'make generate' lowers it, nothing raises
# it. A directory that is not listed may have none.
`

// writeCeilings lowers the ceilings to the counts, and forgets those of 0. The first
// file takes the counts as they are.
func writeCeilings(path string, ceilings, counts map[string]int) error {
	lower := map[string]int{}
	for dir, n := range counts {
		if old, ok := ceilings[dir]; ceilings != nil && (!ok || old < n) {
			n = old
		}
		if n > 0 {
			lower[dir] = n
		}
	}
	text, err := yaml.Marshal(lower)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte(ceilingsHead), text...), 0o644)
}
