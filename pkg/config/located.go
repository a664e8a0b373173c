package config

import (
	"fmt"
	"regexp"
	"strconv"
)

// located puts the place before a decoder's error. A YAML error has a line of its own,
// counted in its document: the text then says the line of the file, and no other one.
func located(source, place string, doc document, err error) error {
	line := regexp.MustCompile(`\bline ([0-9]+):`)
	text := err.Error()
	if !line.MatchString(text) {
		return placed(place, err)
	}
	text = line.ReplaceAllStringFunc(text, func(match string) string {
		n, _ := strconv.Atoi(line.FindStringSubmatch(match)[1])
		return fmt.Sprintf("line %d:", doc.line-1+n)
	})
	return fmt.Errorf("%s: %s", source, text)
}
