package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/pkg/host/file"
	"fairlead.dev/fairlead/pkg/pci"
)

// memory is the declared state that was last in effect. If the API server is away at the start,
// or the last edit was invalid, the agent advertises the pools that it advertised before,
// instead of no pools (dp#502, dp#565).
type memory struct {
	NodeLabels map[string]string      `json:"nodeLabels,omitempty"`
	Governed   map[pci.Address]string `json:"governed,omitempty"` // PF -> the profile that governs it
	texts

	path  string
	saved []byte
}

// texts are the sources of the declared state.
type texts struct {
	ConfigMaps map[string]map[string]string `json:"configMaps"`      // name -> data
	Files      map[string]map[string]string `json:"files,omitempty"` // path of a file, or of a directory of them -> file name -> content
}

func newTexts() texts {
	return texts{ConfigMaps: map[string]map[string]string{}, Files: map[string]map[string]string{}}
}

// remember replaces the content of the memory.
func (m *memory) remember(parts ...texts) {
	m.texts = newTexts()
	for _, p := range parts {
		maps.Copy(m.ConfigMaps, p.ConfigMaps)
		maps.Copy(m.Files, p.Files)
	}
}

// openMemory reads the file. An unreadable file counts as missing: the API server has the same
// content.
func openMemory(path string) (*memory, error) {
	m := &memory{texts: newTexts(), path: path}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(data, m)
	}
	if err != nil || m.ConfigMaps == nil {
		return &memory{texts: newTexts(), path: path}, fmt.Errorf("read %s: %w", path, err)
	}
	m.saved = data
	return m, nil
}

// save writes the file if something has changed.
func (m *memory) save() error {
	data, err := json.Marshal(m)
	if err != nil || bytes.Equal(data, m.saved) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return err
	}
	if err := file.Replace(m.path, data, 0o600); err != nil {
		return err
	}
	m.saved = data
	return nil
}
