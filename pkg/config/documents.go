package config

import (
	"bytes"
)

// Qualify adds the default prefix to a resource without prefix, as Build does.
func Qualify(resource, prefix string) string { return qualify(resource, prefix) }

// Documents cuts a YAML stream into the texts of its documents. Joined again by
// JoinDocuments they are the same stream, line by line.
func Documents(data []byte) [][]byte {
	var out [][]byte
	for _, doc := range splitDocuments(data) {
		out = append(out, doc.text)
	}
	return out
}

// JoinDocuments returns the stream with every document blank that is not kept. Errors
// about the others still have the right document and line.
func JoinDocuments(data []byte, keep func(doc []byte) bool) []byte {
	var out []byte
	for i, text := range Documents(data) {
		if i > 0 || bytes.HasPrefix(data, []byte("---")) {
			out = append(out, "---"...)
		}
		if keep(text) {
			out = append(out, text...)
		} else {
			out = append(out, bytes.Repeat([]byte("\n"), bytes.Count(text, []byte("\n")))...)
		}
	}
	return out
}
