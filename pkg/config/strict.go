package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/quote"
)

// document is one YAML document of a file.
type document struct {
	number int // from 1; empty documents count too
	line   int // the document's first line in the file
	text   []byte
}

// splitDocuments splits a YAML stream at its document markers. A marker in the first column
// ends a document even inside a block scalar (YAML 1.2, 9.1.2), so looking at lines is enough.
func splitDocuments(data []byte) []document {
	doc := document{number: 1, line: 1}
	var docs []document
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		rest, starts := bytes.CutPrefix(line, []byte("---"))
		if starts && (len(rest) == 0 || bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0]))) {
			if i > 0 {
				docs = append(docs, doc)
				doc = document{number: doc.number + 1, line: i + 1}
			}
			line = rest
		}
		if string(bytes.TrimRight(line, " \t\r\n")) == "..." {
			continue
		}
		doc.text = append(doc.text, line...)
	}
	return append(docs, doc)
}

// empty reports whether a document has only blanks and comments.
func (d document) empty() bool {
	for line := range bytes.Lines(d.text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// decodeYAML fills v from one YAML document and rejects unknown and repeated fields.
func decodeYAML(text []byte, v any) error {
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return quote.Bound(errors.New(tidyYAML(err.Error())))
	}
	return decodeJSON(data, v)
}

// decodeJSON fills v and rejects unknown and repeated fields, by their full path.
func decodeJSON(data []byte, v any) error {
	unknown, err := kjson.UnmarshalStrict(data, v)
	if err != nil {
		return quote.Bound(errors.New(tidyJSON(err.Error())))
	}
	for i, err := range unknown {
		unknown[i] = errors.New(quote.Message(err))
	}
	return errors.Join(unknown...)
}

// tidyYAML removes the names of libraries from a parser's message and joins its lines.
func tidyYAML(s string) string {
	s = strings.TrimPrefix(s, "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:\n")
	return strings.Join(strings.Fields(s), " ")
}

// tidyJSON rewrites a message about Go types as one about the user's field.
func tidyJSON(s string) string {
	s = strings.TrimPrefix(s, "json: ")
	rest, ok := strings.CutPrefix(s, "cannot unmarshal ")
	got, rest, ok2 := strings.Cut(rest, " into Go ")
	_, want, ok3 := strings.Cut(rest, " of type ")
	if !ok || !ok2 || !ok3 {
		return s
	}
	field := ""
	if place, found := strings.CutPrefix(rest, "struct field "); found {
		place, _, _ = strings.Cut(place, " of type ")
		_, field, _ = strings.Cut(place, ".") // drop the type's name, keep the path
	}
	s = fmt.Sprintf("%s instead of %s", jsonKind(got), jsonKind(want))
	if field != "" {
		s = field + ": " + s
	}
	if got == "bool" && want == "string" {
		s += " (a bare on, off, yes or no is a boolean in YAML: put it in quotes)"
	}
	return s
}

// jsonKind returns what JSON calls a Go type.
func jsonKind(goType string) string {
	switch {
	case strings.HasPrefix(goType, "number "), strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"), goType == "number":
		return "a number"
	case goType == "bool":
		return "a boolean"
	case goType == "string":
		return "a string"
	case strings.HasPrefix(goType, "[]"), goType == "array":
		return "a list"
	}
	return "an object"
}

// problems collects the errors of one declaration, so that a user sees all of them at once.
// Each line begins with the place of the declaration.
type problems struct {
	place string
	errs  []error
}

// addf bounds the values that it gets: a user has written them (security S7).
func (p *problems) addf(field, format string, args ...any) {
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			args[i] = quote.Cut(arg)
		case device.Type:
			args[i] = quote.Plain(string(arg))
		case error:
			args[i] = quote.Message(arg)
		}
	}
	p.errs = append(p.errs, fmt.Errorf("%s: %s: %s", p.place, field, fmt.Sprintf(format, args...)))
}

func (p *problems) add(field string, err error) {
	if err != nil {
		p.addf(field, "%v", err)
	}
}

// maxProblems is the number of errors after which a list is not read further: a text of a
// few bytes for each of thousands of errors would fill the memory.
const maxProblems = 50

func (p *problems) full() bool { return len(p.errs) >= maxProblems }

func (p *problems) err() error { return errors.Join(p.errs...) }
