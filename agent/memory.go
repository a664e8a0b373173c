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

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/host/file"
	"fairlead.dev/fairlead/pkg/pci"
)

// memory is the declared state that was last in effect. If the API server is away at the start,
// or the last edit was invalid, the agent advertises the pools that it advertised before,
// instead of no pools (dp#502, dp#565).
type memory struct {
	NodeLabels map[string]string      `json:"nodeLabels,omitempty"`
	Governed   map[pci.Address]string `json:"governed,omitempty"` // PF -> the profile that governs it
	Parsed     json.RawMessage        `json:"parsed,omitempty"`   // parsed, which is decoded only if it is needed
	texts

	path  string
	saved []byte
}

// parsedFormat is the version of parsed. It is raised if a type in it gets a field whose zero
// value means something else than the rules before it.
const parsedFormat = 1

// parsed holds the values that texts had by the rules of the agent that wrote them. After an
// upgrade, the rules may be stricter, so that neither the texts in the memory nor the present
// ones can be parsed. The node must not lose its pools for that (devices C12), nor its pods
// their networks.
type parsed struct {
	Format   int                  `json:"format"`
	Profiles []config.Declaration `json:"profiles,omitempty"`
	Pools    []device.Pool        `json:"pools,omitempty"`
	Model    config.Model         `json:"model,omitzero"`
	Policies []config.Policy      `json:"policies,omitempty"`
}

// recalled returns the values of the texts in the memory; nil: this agent does not understand
// them.
func (m *memory) recalled() *parsed {
	var head struct {
		Format int `json:"format"`
	}
	values := &parsed{}
	if json.Unmarshal(m.Parsed, &head) != nil || head.Format != parsedFormat || json.Unmarshal(m.Parsed, values) != nil {
		return nil
	}
	return values
}

// texts are the sources of the declared state.
type texts struct {
	ConfigMaps map[string]map[string]string `json:"configMaps"`      // name -> data
	Files      map[string]map[string]string `json:"files,omitempty"` // path of a file, or of a directory of them -> file name -> content
}

func newTexts() texts {
	return texts{ConfigMaps: map[string]map[string]string{}, Files: map[string]map[string]string{}}
}

// remember replaces the content of the memory: texts, and their values.
func (m *memory) remember(values parsed, parts ...texts) {
	values.Format = parsedFormat
	m.Parsed, _ = json.Marshal(values) // plain data: a test shows that it can be written
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
