// Package cache keeps artefacts under names that have a hash of their inputs. If an
// input changes, a new artefact is made.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keep is how many versions of one artefact stay: the one in use and the one before it,
// which is needed if a change is reverted.
const keep = 2

// Key hashes inputs, each with its length.
func Key(inputs ...[]byte) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%d:", len(in))
		h.Write(in)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// KeyFile hashes a file's content.
func KeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// Artefact is one cached file or folder: dir/name-key.
type Artefact struct{ Dir, Name, Key, Ext string }

// Path returns the place of the complete artefact.
func (a Artefact) Path() string { return filepath.Join(a.Dir, a.Name+"-"+a.Key+a.Ext) }

// Present reports whether it is there.
func (a Artefact) Present() bool {
	_, err := os.Stat(a.Path())
	return err == nil
}

// Make returns the artefact's path, and calls build first if it does not exist. Build
// writes to a path beside it, which is renamed when build has succeeded: an interrupted
// build leaves nothing that looks finished.
func (a Artefact) Make(ctx context.Context, build func(ctx context.Context, out string) error) (string, error) {
	path := a.Path()
	if a.Present() {
		return path, Touch(path)
	}
	if err := os.MkdirAll(a.Dir, 0o755); err != nil {
		return "", err
	}
	tmp := filepath.Join(a.Dir, ".new-"+a.Name+a.Ext)
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := build(ctx, tmp); err != nil {
		os.RemoveAll(tmp)
		return "", err
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", err
	}
	return path, a.prune()
}

// Touch marks an artefact as used: prune goes by last use.
func Touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

func (a Artefact) prune() error {
	entries, err := os.ReadDir(a.Dir)
	if err != nil {
		return err
	}
	type version struct {
		path string
		used time.Time
	}
	var versions []version
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), a.Name+"-")
		if !ok || len(rest) != len(a.Key)+len(a.Ext) || !strings.HasSuffix(rest, a.Ext) {
			continue
		}
		if info, err := e.Info(); err == nil {
			versions = append(versions, version{filepath.Join(a.Dir, e.Name()), info.ModTime()})
		}
	}
	slices.SortFunc(versions, func(x, y version) int { return y.used.Compare(x.used) })
	for _, v := range versions[min(keep, len(versions)):] {
		if err := os.RemoveAll(v.path); err != nil {
			return err
		}
	}
	return nil
}
