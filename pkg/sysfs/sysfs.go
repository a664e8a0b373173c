// Package sysfs reads a node's SR-IOV functions from /sys, creates VFs and binds drivers. Every
// path is below a root, so that a container can read its host's tree and a test its own.
//
// It keeps no state, caches nothing and uses no netlink: pkg/inventory does. It sees the
// netdevs of the network namespace in which /sys was mounted; the netdev of a VF that is in a
// pod is not visible. Writes go through a Writer, which tests replace with one that behaves as
// the kernel does.
package sysfs

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

// FS is a node's /sys. The zero value is not usable; see New.
type FS struct {
	root         string
	writer       Writer
	open         func(path string) error // opens a device node, and closes it
	pending      *pending
	bindWithin   time.Duration
	numVFsWithin time.Duration
}

// Writer writes one sysfs attribute.
type Writer interface {
	WriteAttr(path string, data []byte) error
}

// defaultBindWithin limits a change of driver. The slowest probe takes a few seconds, but VFIO
// lets go only when the last process has closed the device.
const defaultBindWithin = 30 * time.Second

// defaultNumVFsWithin limits a change of the number of VFs. 125 VFs have taken 65 s (op#1015).
// If a process has a VF open that is to be removed, the change waits for the process.
const defaultNumVFsWithin = 3 * time.Minute

// New returns the sysfs below root: files are read from root/sys/…. "" and "/" are the
// machine's own.
func New(root string) FS {
	if root == "" {
		root = "/"
	}
	return FS{
		root: root, writer: fileWriter{}, open: openNode, pending: &pending{at: map[pci.Address]bool{}},
		bindWithin: defaultBindWithin, numVFsWithin: defaultNumVFsWithin,
	}
}

// WithWriter returns a copy of f that writes through w.
func (f FS) WithWriter(w Writer) FS {
	f.writer = w
	return f
}

// WithOpener returns a copy of f that opens device nodes with open.
func (f FS) WithOpener(open func(path string) error) FS {
	f.open = open
	return f
}

// WithTimeout returns a copy of f whose changes wait at most d.
func (f FS) WithTimeout(d time.Duration) FS {
	f.bindWithin, f.numVFsWithin = d, d
	return f
}

// Root returns the directory that New was given, "/" for the machine's own.
func (f FS) Root() string { return f.root }

type fileWriter struct{}

// WriteAttr opens without O_CREAT: if an attribute does not exist, the kernel or driver does
// not support it. One write call carries the whole value, since the kernel takes each call as a
// separate value.
func (fileWriter) WriteAttr(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

func (f FS) devices() string { return filepath.Join(f.root, "sys/bus/pci/devices") }

func (f FS) device(addr pci.Address) string { return f.devices() + "/" + addr.String() }

func (f FS) driver(name string) string {
	return filepath.Join(f.root, "sys/bus/pci/drivers", name)
}

func (f FS) driversProbe() string { return filepath.Join(f.root, "sys/bus/pci/drivers_probe") }
