// Package nearest finds the name that a mistyped one most likely means. It knows nothing of
// the kinds of names.
package nearest

import "strings"

// Name returns the name that a misspelt or shortened one (iface) most likely means;
// empty: no name is near.
func Name(misspelt string, names []string) string {
	best, least := "", max(2, len(misspelt)/4)+1
	for _, name := range names {
		if d := editDistance(strings.ToLower(misspelt), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	for _, name := range names {
		if best == "" && shortens(strings.ToLower(misspelt), strings.ToLower(name)) {
			best = name
		}
	}
	return best
}

// shortens reports that the letters of short stand in name in their order.
func shortens(short, name string) bool {
	if len(short) < 3 {
		return false
	}
	rest := name
	for _, letter := range short {
		_, after, found := strings.Cut(rest, string(letter))
		if !found {
			return false
		}
		rest = after
	}
	return true
}

// editDistance counts the bytes to insert, delete or replace to make b of a.
func editDistance(a, b string) int {
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replaced := previous[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(previous[j+1]+1, row[j]+1, replaced)
		}
		previous = row
	}
	return previous[len(b)]
}
