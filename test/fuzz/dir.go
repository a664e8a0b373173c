package fuzz

import (
	"os"
	"testing"
)

// memoryDir is a file system in memory.
const memoryDir = "/dev/shm"

// TempDir returns a directory for one call, in memory if the machine has that: parsers of
// files write and sync some, and a disk would do a few calls a second.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(memoryDir, "fairlead-fuzz-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
