package sysfstest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/pci"
)

// FailWrite makes the k-th write from now fail, counted from 1, without any effect.
func (tr *Tree) FailWrite(k int, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failures[len(tr.writes)+k] = err
}

// RefuseDriver makes probes of a driver leave a function unbound; the kernel reports no error
// then.
func (tr *Tree) RefuseDriver(addr pci.Address, driver string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.refused[addr.String()+" "+driver] = true
}

// Writes lists all writes so far, including failed ones, as lines of the form
// "0000:3b:00.0/sriov_numvfs 4" for golden texts.
func (tr *Tree) Writes() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.writes)
}

// WriteAttr implements sysfs.Writer.
func (tr *Tree) WriteAttr(path string, data []byte) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	rel, err := filepath.Rel(tr.bus.files.abs("sys/bus/pci"), path)
	if err != nil {
		return err
	}
	rel = strings.TrimPrefix(rel, "devices/")
	value := strings.TrimSuffix(string(data), "\n")
	tr.writes = append(tr.writes, strings.TrimSpace(rel+" "+value))
	if err := tr.failures[len(tr.writes)]; err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return err
	}
	if err := tr.bus.handle(rel, value); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
