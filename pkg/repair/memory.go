package repair

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/host/file"
	"fairlead.dev/fairlead/pkg/pci"
)

// Clean is how a VF was when nobody had it and nothing was wrong with it.
type Clean struct {
	Netdev   string          `json:"netdev,omitempty"`
	Settings device.Settings `json:"settings"` // at the PF, the driver and the MTU
}

// memory is kept in a file of its own: the loss of the ledger must not take it along.
type memory struct {
	Boot   string                `json:"boot"` // the kernel's boot id: after a boot every VF is new
	Free   map[pci.Address]Clean `json:"free"`
	Strays map[pci.Address]Stray `json:"strays"`
}

// openMemory reads the file. A file of an earlier boot, or one that cannot be read, counts
// as empty.
func openMemory(path, boot string) (memory, error) {
	m := memory{Boot: boot, Free: map[pci.Address]Clean{}, Strays: map[pci.Address]Stray{}}
	if path == "" {
		return m, nil
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	var saved memory
	if err == nil {
		err = json.Unmarshal(raw, &saved)
	}
	if err != nil {
		return m, fmt.Errorf("read %s: %w", path, err)
	}
	if saved.Boot != boot || saved.Free == nil || saved.Strays == nil {
		return m, nil
	}
	return saved, nil
}

func (m memory) save(path string) error {
	if path == "" {
		return nil
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return file.Replace(path, raw, 0o600)
}

// note remembers a free VF. It reports whether that is news.
func (m memory) note(vf device.VF, atPF device.Settings) bool {
	c := Clean{Netdev: vf.Netdev, Settings: atPF}
	c.Settings.Driver, c.Settings.MAC = vf.Driver, ""
	if vf.Netdev != "" {
		c.Settings.MTU = &vf.MTU
	}
	if before, ok := m.Free[vf.Address]; ok && reflect.DeepEqual(before, c) {
		return false
	}
	m.Free[vf.Address] = c
	return true
}
