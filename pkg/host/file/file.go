// Package file replaces files so that a crash leaves the old content or the new.
//
// It imports the standard library only, because the CNI shim links it.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// TemporarySuffix ends the names of files that Replace has not finished. A reader of
// a directory skips them.
const TemporarySuffix = ".tmp"

// Replace writes a file by way of a temporary one beside it: write, fsync, rename,
// fsync of the directory. A reader finds the old content or the new, never a part.
func Replace(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+TemporarySuffix)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// ReplaceIfDifferent is Replace for a file that may already have the content and the
// mode. It reports whether it wrote.
func ReplaceIfDifferent(path string, content []byte, mode os.FileMode) (written bool, err error) {
	have, err := os.ReadFile(path)
	if err == nil && bytes.Equal(have, content) {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm() == mode {
			return false, nil
		}
	}
	return true, Replace(path, content, mode)
}

// SyncDir makes the entries of a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
