package apt

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// System describes this machine's Debian, by the files of /etc.
type System struct {
	ID       string // debian
	Version  string // 12
	Codename string // bookworm
	Sources  []Entry
}

// ReadSystem reads os-release and the apt sources below root ("/" for real).
func ReadSystem(root string) (System, error) {
	var s System
	release, err := os.ReadFile(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return s, fmt.Errorf("read this machine's os-release: %w", err)
	}
	fields := parseOSRelease(release)
	s.ID, s.Version, s.Codename = fields["ID"], fields["VERSION_ID"], fields["VERSION_CODENAME"]
	s.Sources, err = readSources(filepath.Join(root, "etc/apt"))
	return s, err
}

func parseOSRelease(b []byte) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok {
			fields[name] = strings.Trim(value, `"'`)
		}
	}
	return fields
}

func readSources(dir string) ([]Entry, error) {
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, name := range append([]string{filepath.Join(dir, "sources.list")}, files...) {
		parse := parserFor(name)
		if parse == nil {
			continue
		}
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read apt source: %w", err)
		}
		entries, err := parse(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("apt source %s: %w", name, err)
		}
		all = append(all, entries...)
	}
	return all, nil
}

// parserFor chooses by the file's ending, as apt does. Other files are not sources.
func parserFor(name string) func(io.Reader) ([]Entry, error) {
	switch filepath.Ext(name) {
	case ".list":
		return ParseOneLine
	case ".sources":
		return ParseDeb822
	}
	return nil
}
