package guestos

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// File is one entry of an initramfs.
type File struct {
	Mode fs.FileMode // permission bits; with fs.ModeDir a folder
	Data []byte
}

const (
	cpioDir     = 0o040000
	cpioRegular = 0o100000
)

// WriteCPIO writes files (path to content) as a newc archive, the format that
// the kernel unpacks. Parent folders are added. The kernel reads several
// archives laid end to end, so a node's own files need not be in the base.
func WriteCPIO(w io.Writer, files map[string]File) error {
	all := withParents(files)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names) // a folder sorts before its content
	c := &cpioWriter{w: w}
	for i, name := range names {
		c.entry(i+1, name, all[name])
	}
	c.header(0, 0, 1, 0, "TRAILER!!!")
	c.pad(512)
	return c.err
}

func withParents(files map[string]File) map[string]File {
	all := map[string]File{}
	for name, f := range files {
		name = strings.TrimPrefix(path.Clean(name), "/")
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = File{Mode: fs.ModeDir | 0o755}
			}
		}
		all[name] = f
	}
	return all
}

// cpioWriter counts the bytes, for padding. It keeps the first error.
type cpioWriter struct {
	w   io.Writer
	n   int
	err error
}

func (c *cpioWriter) entry(inode int, name string, f File) {
	mode, links := cpioRegular|uint32(f.Mode.Perm()), 1
	if f.Mode.IsDir() {
		mode, links = cpioDir|uint32(f.Mode.Perm()), 2
	}
	c.header(inode, mode, links, len(f.Data), name)
	c.write(f.Data)
	c.pad(4)
}

// header returns the magic and 13 numbers in hexadecimal. Owner, times and devices
// are 0, so that the same files make the same archive.
func (c *cpioWriter) header(inode int, mode uint32, links, size int, name string) {
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name))
	c.pad(4)
}

func (c *cpioWriter) pad(to int) {
	if rest := c.n % to; rest != 0 {
		c.write(make([]byte, to-rest))
	}
}

func (c *cpioWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(p)
	c.n += n
	c.err = err
}
