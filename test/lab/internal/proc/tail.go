package proc

import (
	"io"
	"os"
	"strings"
)

// tailBytes is more than any tail that people read.
const tailBytes = 256 << 10

// Tail returns the last lines of a file, or why there are no lines.
func Tail(path string, lines int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > tailBytes {
		f.Seek(-tailBytes, io.SeekEnd)
	} else {
		f.Seek(0, io.SeekStart)
	}
	b, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\r\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
