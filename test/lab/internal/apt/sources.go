// Package apt installs and downloads Debian packages from the machine's own
// configured sources, with the suite exchanged if a newer one is needed
// (the backports of this release, or the release of the lab's guests). It
// keeps its lists below the lab's cache and never writes to /etc/apt.
package apt

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Entry is one source, whichever format it was written in.
type Entry struct {
	URIs       []string
	Suites     []string
	Components []string
	Options    []Option // Signed-By and the like, in deb822 spelling
}

// Option is a field of a source that the lab passes on unread.
type Option struct{ Name, Value string }

// optionNames maps the one-line format's options to deb822 fields.
var optionNames = map[string]string{
	"signed-by":         "Signed-By",
	"trusted":           "Trusted",
	"check-valid-until": "Check-Valid-Until",
	"valid-until-min":   "Valid-Until-Min",
	"valid-until-max":   "Valid-Until-Max",
	"check-date":        "Check-Date",
	"allow-insecure":    "Allow-Insecure",
	"by-hash":           "By-Hash",
	"pdiffs":            "PDiffs",
}

// ParseOneLine reads the format of sources.list.
func ParseOneLine(r io.Reader) ([]Entry, error) {
	var entries []Entry
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		e, ok, err := parseLine(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		if ok {
			entries = append(entries, e)
		}
	}
	return entries, lines.Err()
}

func parseLine(line string) (Entry, bool, error) {
	rest, ok := strings.CutPrefix(line, "deb")
	if !ok || rest == "" || (rest[0] != ' ' && rest[0] != '\t') {
		return Entry{}, false, nil // deb-src, or empty
	}
	var e Entry
	rest = strings.TrimSpace(rest)
	if strings.HasPrefix(rest, "[") {
		options, after, found := strings.Cut(rest[1:], "]")
		if !found {
			return Entry{}, false, fmt.Errorf("source %q: no closing bracket", line)
		}
		e.Options = parseOptions(options)
		rest = after
	}
	words := strings.Fields(rest)
	if len(words) < 2 {
		return Entry{}, false, fmt.Errorf("source %q: want an address and a suite", line)
	}
	e.URIs, e.Suites, e.Components = words[:1], words[1:2], words[2:]
	return e, true, nil
}

func parseOptions(s string) []Option {
	var options []Option
	for _, word := range strings.Fields(s) {
		name, value, _ := strings.Cut(word, "=")
		if field, ok := optionNames[strings.ToLower(name)]; ok {
			options = append(options, Option{field, strings.ReplaceAll(value, ",", " ")})
		}
	}
	return options
}

// ParseDeb822 reads the format of *.sources files.
func ParseDeb822(r io.Reader) ([]Entry, error) {
	var entries []Entry
	var stanza []Option
	flush := func() {
		if e, ok := fromStanza(stanza); ok {
			entries = append(entries, e)
		}
		stanza = nil
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if len(stanza) == 0 {
				return nil, fmt.Errorf("source line %q continues nothing", line)
			}
			stanza[len(stanza)-1].Value += "\n" + line
		default:
			name, value, found := strings.Cut(line, ":")
			if !found {
				return nil, fmt.Errorf("source line %q has no colon", line)
			}
			stanza = append(stanza, Option{strings.TrimSpace(name), strings.TrimSpace(value)})
		}
	}
	flush()
	return entries, lines.Err()
}

func fromStanza(stanza []Option) (Entry, bool) {
	var e Entry
	var types []string
	for _, o := range stanza {
		switch strings.ToLower(o.Name) {
		case "types":
			types = strings.Fields(o.Value)
		case "uris":
			e.URIs = strings.Fields(o.Value)
		case "suites":
			e.Suites = strings.Fields(o.Value)
		case "components":
			e.Components = strings.Fields(o.Value)
		case "enabled":
			if v := strings.ToLower(o.Value); v == "no" || v == "false" || v == "0" {
				return Entry{}, false
			}
		case "architectures", "languages", "targets":
			// of no use to a guest of another suite
		default:
			e.Options = append(e.Options, o)
		}
	}
	return e, slices.Contains(types, "deb") && len(e.URIs) > 0
}

// Derive returns this release's Debian entries with their suites replaced by
// those of another: codename-security becomes target-security and so on.
// Sources of others than Debian are left out: they may not have the target suite.
func Derive(entries []Entry, codename, target string) []Entry {
	var out []Entry
	for _, e := range entries {
		if !isDebian(e) {
			continue
		}
		e.Suites = renameSuites(e.Suites, codename, target)
		if len(e.Suites) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// WithBackports adds the backports suite beside the release itself.
func WithBackports(entries []Entry, codename string) []Entry {
	out := Derive(entries, codename, codename)
	for i, e := range out {
		if slices.Contains(e.Suites, codename) {
			out[i].Suites = append(slices.Clone(e.Suites), codename+"-backports")
			break
		}
	}
	return out
}

// isDebian distinguishes the distribution's archive and its mirrors from add-on
// sources, which use the same suite names: the archive has a component main
// and a path (or mirror list) that is called debian or debian-security.
func isDebian(e Entry) bool {
	if !slices.Contains(e.Components, "main") {
		return false
	}
	return slices.ContainsFunc(e.URIs, func(uri string) bool {
		return strings.HasPrefix(path.Base(strings.TrimRight(uri, "/")), "debian")
	})
}

func renameSuites(suites []string, codename, target string) []string {
	var out []string
	for _, s := range suites {
		base, pocket, _ := strings.Cut(s, "-")
		if base != codename || pocket == "backports" || pocket == "proposed-updates" {
			continue
		}
		if pocket != "" {
			pocket = "-" + pocket
		}
		out = append(out, target+pocket)
	}
	return out
}

// Format writes entries as a deb822 file.
func Format(entries []Entry) string {
	var b strings.Builder
	for i, e := range entries {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n", strings.Join(e.URIs, " "), strings.Join(e.Suites, " "))
		for _, o := range e.Options {
			fmt.Fprintf(&b, "%s: %s\n", o.Name, o.Value)
		}
	}
	return b.String()
}
