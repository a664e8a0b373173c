package view

// Printable returns a user's text with everything escaped that does not print. It stays
// on one line.
func Printable(text string) string { return printableText(text) }
