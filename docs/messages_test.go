package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	tableHead = regexp.MustCompile(`^\| (text|message|log) \|`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	// variable is a part of a quoted message that the program fills in.
	variable = regexp.MustCompile(`…|\d+|"[^"]*"|\bN\b|k8s\.v1\S*`)
)

// Users search for the text that they see. A message that troubleshooting.md quotes is
// one that the programs have.
func TestQuotedMessagesExist(t *testing.T) {
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	source := programText(t)
	found := 0
	for _, message := range quotedMessages(string(page)) {
		for _, part := range variable.Split(message, -1) {
			if part = strings.Trim(part, " :;,"); len(part) < 12 {
				continue
			}
			found++
			if !strings.Contains(source, part) {
				t.Errorf("troubleshooting.md quotes %q: no program says %q", message, part)
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d parts of messages were found", found)
	}
}

// quotedMessages returns the code in the first column of the tables of messages.
func quotedMessages(page string) []string {
	var messages []string
	inTable := false
	for _, line := range strings.Split(page, "\n") {
		inTable = tableHead.MatchString(line) || inTable && strings.HasPrefix(line, "|")
		if !inTable {
			continue
		}
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), " |")
		for _, span := range codeSpan.FindAllStringSubmatch(cell, -1) {
			messages = append(messages, span[1])
		}
	}
	return messages
}

// programText returns the Go files of the programs, tests left out.
func programText(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, dir := range []string{"agent", "cmd", "cni", "deviceplugin", "pkg"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			body, err := os.ReadFile(path)
			text.Write(body)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}
