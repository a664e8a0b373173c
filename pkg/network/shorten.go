package network

import (
	"strconv"
	"strings"
)

// shortened begins a text that stands for a longer one. A tenant who writes it gets the error
// for a text that is too large, as the longer one would.
const shortened = "\x00shortened, bytes: "

// Shorten returns the text, or, if it has more bytes than limit, a short one that the parsers
// refuse as they would refuse the text, with its size. So a cache need not keep texts that
// nobody can use.
func Shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return shortened + strconv.Itoa(len(text))
}

// size returns the number of bytes of the text as it was before Shorten.
func size(text string) int {
	if rest, ok := strings.CutPrefix(text, shortened); ok {
		if n, err := strconv.Atoi(rest); err == nil && n > len(text) {
			return n
		}
	}
	return len(text)
}
