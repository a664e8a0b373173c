// Package decodes counts the JSON decodes that a piece of work takes. The count comes
// from a copy of encoding/json in which Unmarshal and Decode call a hook; `go test
// -overlay` compiles that copy in place of the library. Nothing in the product knows of
// it. Other JSON libraries, such as the API server client's, are not counted.
//
// Files with the build tag decodes compile only with the overlay. The test without the
// tag writes the overlay and runs those with it.
package decodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// hook is the file that the copy has in addition.
const hook = `package json

// OnDecode is called at the start of each Unmarshal and Decode.
var OnDecode func()

func onDecode() {
	if OnDecode != nil {
		OnDecode()
	}
}
`

// decoders are the functions that begin a decode, by file. The library has two
// implementations, of which the build selects one.
var decoders = map[string]string{
	"decode.go":    "func Unmarshal(data []byte, v any) error {",
	"v2_decode.go": "func Unmarshal(data []byte, v any) error {",
	"stream.go":    "func (dec *Decoder) Decode(v any) error {",
	"v2_stream.go": "func (dec *Decoder) Decode(v any) error {",
}

// Overlay writes the changed files of encoding/json to dir, and returns the file to give
// to -overlay. goroot is where Go is.
func Overlay(goroot, dir string) (string, error) {
	library := filepath.Join(goroot, "src", "encoding", "json")
	replace := map[string]string{filepath.Join(library, "hook.go"): filepath.Join(dir, "hook.go")}
	if err := os.WriteFile(filepath.Join(dir, "hook.go"), []byte(hook), 0o644); err != nil {
		return "", err
	}
	for name, function := range decoders {
		changed := filepath.Join(dir, name)
		err := insertHook(filepath.Join(library, name), changed, function)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "v2_") {
			continue // a Go without the second implementation
		}
		if err != nil {
			return "", err
		}
		replace[filepath.Join(library, name)] = changed
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o644)
}

// insertHook copies a file with a call of the hook at the start of a function. It keeps
// the lines' numbers.
func insertHook(from, to, function string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	before, after, found := strings.Cut(string(text), "\n"+function+"\n")
	if !found {
		return fmt.Errorf("%s has no %q: adapt the overlay to this version of Go", from, function)
	}
	return os.WriteFile(to, []byte(before+"\n"+function+" onDecode()\n"+after), 0o644)
}
