package sysfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/pkg/pci"
)

// files are the files below a directory. Paths are relative to it.
type files string

// dev returns the directory of a function.
func dev(addr pci.Address) string { return "sys/devices/pci0000:00/" + addr.String() }

func (f files) abs(path string) string { return filepath.Join(string(f), path) }

func (f files) mkdir(path string) { check(os.MkdirAll(f.abs(path), 0o755)) }

func (f files) symlink(target, path string) { check(os.Symlink(target, f.abs(path))) }

func (f files) write(path, text string) {
	check(os.WriteFile(f.abs(path), []byte(text+"\n"), 0o644))
}

func (f files) read(path string) string {
	text, err := os.ReadFile(f.abs(path))
	check(err)
	return strings.TrimSpace(string(text))
}

// check panics. A tree that cannot be built is not a failure of the code under test, and a
// write may arrive on a goroutine in which Fatal must not be called.
func check(err error) {
	if err != nil {
		panic(fmt.Sprintf("sysfstest: %v", err))
	}
}
