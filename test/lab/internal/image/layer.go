package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// entry is one file, folder or link of a layer.
type entry struct {
	mode fs.FileMode
	data []byte
	link string
}

// tree is a layer under construction: path to entry.
type tree map[string]entry

func (t tree) dir(path string, mode fs.FileMode) { t[path] = entry{mode: fs.ModeDir | mode} }
func (t tree) symlink(path, to string)           { t[path] = entry{mode: fs.ModeSymlink | 0o777, link: to} }
func (t tree) file(path string, mode fs.FileMode, data []byte) {
	t[path] = entry{mode: mode, data: data}
}

// copyIn copies a file of root, or the target if it is a link.
func (t tree) copyIn(root, path string) error {
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return err
	}
	t.file(path, 0o755, b)
	return nil
}

// layer packs the tree, sorted and without times, so that the same files
// make the same digest.
func (t tree) layer() (v1.Layer, error) {
	t.addParents()
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := writeEntry(w, name, t[name]); err != nil {
			return nil, fmt.Errorf("layer entry %s: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	// Not compressed: an emulated node unpacks it in a third of the time.
	return tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.NoCompression))
}

func (t tree) addParents() {
	for name := range t {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if _, ok := t[dir]; !ok {
				t.dir(dir, 0o755)
			}
		}
	}
}

func writeEntry(w *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: name, Mode: int64(e.mode.Perm()), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		if e.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
	case strings.HasSuffix(name, "/"):
		return errors.New("a file that is called like a folder")
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(e.data)
	return err
}
