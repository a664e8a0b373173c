package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// libraryDirs are the folders in which Debian's amd64 loader looks.
var libraryDirs = []string{"usr/lib/x86_64-linux-gnu", "usr/lib", "usr/lib64"}

// closure returns the shared libraries and the loader that an image needs to run the
// programs, as paths below root.
func closure(root string, programs []string) ([]string, error) {
	c := &collector{root: root, seen: map[string]bool{}}
	for _, p := range programs {
		if err := c.walk(p); err != nil {
			return nil, fmt.Errorf("find the libraries of %s: %w", p, err)
		}
	}
	return c.found, nil
}

type collector struct {
	root  string
	seen  map[string]bool // path → visited
	found []string
}

func (c *collector) walk(path string) error {
	f, err := elf.Open(filepath.Join(c.root, path))
	if err != nil {
		return err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return err
	}
	for _, name := range needed {
		if err := c.add(name); err != nil {
			return err
		}
	}
	return c.addLoader(f)
}

func (c *collector) add(library string) error {
	for _, dir := range libraryDirs {
		path := filepath.Join(dir, library)
		if c.seen[path] {
			return nil
		}
		if _, err := os.Stat(filepath.Join(c.root, path)); err != nil {
			continue
		}
		c.seen[path] = true
		c.found = append(c.found, path)
		return c.walk(path)
	}
	return fmt.Errorf("%s is not installed", library)
}

// addLoader adds the program interpreter, which Debian names through /lib64.
func (c *collector) addLoader(f *elf.File) error {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return err
		}
		path := filepath.Join("usr", strings.TrimRight(string(b), "\x00"))
		if !c.seen[path] {
			c.seen[path] = true
			c.found = append(c.found, path)
		}
	}
	return nil
}
