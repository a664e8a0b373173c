package main

import (
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// put writes the request's body to a file. The file appears when it is complete.
func put(w http.ResponseWriter, r *http.Request) {
	path := r.FormValue("path")
	mode, err := strconv.ParseUint(r.FormValue("mode"), 8, 12)
	if err != nil || !filepath.IsAbs(path) {
		http.Error(w, "want an absolute path and an octal mode", http.StatusBadRequest)
		return
	}
	if err := writeFile(path, fs.FileMode(mode), r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func writeFile(path string, mode fs.FileMode, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".put-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when the rename succeeded
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
