package sysfs_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/sysfs"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

func vfTree(t *testing.T, driver string) *sysfstest.Tree {
	tree := sysfstest.New(t)
	pf, vf := igb(), igbvf(0)
	vf.Driver = driver
	pf.VFs = []device.VF{vf}
	tree.AddPF(pf)
	return tree
}

func TestBindDriver(t *testing.T) {
	const (
		override = "0000:3b:10.0/driver_override"
		unbind   = "0000:3b:10.0/driver/unbind 0000:3b:10.0"
		probe    = "drivers_probe 0000:3b:10.0"
	)
	tests := map[string]struct {
		had, want  string
		prepare    func(*sysfstest.Tree)
		is         error
		text       string
		writes     []string
		left       string
		leftNetdev string
	}{
		"to vfio-pci": {had: "igbvf", want: "vfio-pci", left: "vfio-pci",
			writes: []string{override + " vfio-pci", unbind, probe}},
		"back by name": {had: "vfio-pci", want: "igbvf", left: "igbvf", leftNetdev: "ens1f0v0",
			writes: []string{override + " igbvf", unbind, probe}},
		"back to the kernel's choice": {had: "vfio-pci", want: "", left: "igbvf", leftNetdev: "ens1f0v0",
			writes: []string{override, unbind, probe}},
		"has it":              {had: "vfio-pci", want: "vfio-pci", left: "vfio-pci"},
		"has kernel's choice": {had: "igbvf", want: "", left: "igbvf", leftNetdev: "ens1f0v0"},
		"without driver": {had: "", want: "vfio-pci", left: "vfio-pci",
			writes: []string{override + " vfio-pci", probe}},
		"module not loaded": {had: "igbvf", want: "mlx5_vfio_pci", is: sysfs.ErrDriverNotLoaded, text: "modprobe mlx5_vfio_pci",
			left: "igbvf", leftNetdev: "ens1f0v0"},
		"probe refused": {had: "igbvf", want: "vfio-pci", is: sysfs.ErrRefused, text: "it had igbvf",
			prepare: func(tr *sysfstest.Tree) { tr.RefuseDriver(vf0Addr, "vfio-pci") },
			writes:  []string{override + " vfio-pci", unbind, probe, override, probe}, left: "igbvf", leftNetdev: "ens1f0v0"},
		"kernel has no driver for it": {had: "vfio-pci", want: "", is: sysfs.ErrRefused, text: "autoprobe",
			prepare: func(tr *sysfstest.Tree) { tr.RefuseDriver(vf0Addr, "igbvf") },
			writes:  []string{override, unbind, probe, override + " vfio-pci", probe}, left: "vfio-pci"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tree := vfTree(t, tt.had)
			if tt.prepare != nil {
				tt.prepare(tree)
			}
			checkError(t, tree.FS().BindDriver(vf0Addr, tt.want), tt.is, tt.text)
			if diff := cmp.Diff(tt.writes, tree.Writes()); diff != "" {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			vf, err := tree.FS().VF(vf0Addr)
			if err != nil || vf.Driver != tt.left || vf.Netdev != tt.leftNetdev {
				t.Errorf("left driver %q, netdev %q, %v; want %q, %q", vf.Driver, vf.Netdev, err, tt.left, tt.leftNetdev)
			}
		})
	}
}

func TestBindDriverUndoesAFailureAtEachWrite(t *testing.T) {
	for k := 1; k <= 3; k++ {
		t.Run(fmt.Sprint("write ", k), func(t *testing.T) {
			tree := vfTree(t, "igbvf")
			tree.FailWrite(k, unix.EIO)
			err := tree.FS().BindDriver(vf0Addr, "vfio-pci")
			if !errors.Is(err, unix.EIO) || strings.Contains(err.Error(), "undo") {
				t.Errorf("error %v, want EIO and an undo without complaint", err)
			}
			vf, err := tree.FS().VF(vf0Addr)
			if diff := cmp.Diff(igbvf(0), vf); err != nil || diff != "" {
				t.Errorf("after the undo: %v (-want +got):\n%s", err, diff)
			}
			if err := tree.FS().BindDriver(vf0Addr, "vfio-pci"); err != nil {
				t.Errorf("second try: %v", err)
			}
		})
	}
}

func TestBindDriverSaysWhenItsUndoFails(t *testing.T) {
	tree := vfTree(t, "igbvf")
	tree.FailWrite(3, unix.EIO)
	tree.FailWrite(4, unix.ENOSPC)
	err := tree.FS().BindDriver(vf0Addr, "vfio-pci")
	if !errors.Is(err, unix.EIO) || !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "undo") {
		t.Errorf("error %v, want both errnos and the undo named", err)
	}
}

func TestVFIOHintNamesTheIOMMU(t *testing.T) {
	tree := sysfstest.New(t)
	pf, vf := igb(), igbvf(0)
	vf.IOMMUGroup = -1
	pf.VFs = []device.VF{vf}
	tree.AddPF(pf)
	tree.RefuseDriver(vf0Addr, "vfio-pci")
	checkError(t, tree.FS().BindDriver(vf0Addr, "vfio-pci"), sysfs.ErrRefused, "intel_iommu=on")
}

// heldDevice is a kernel in which a process has the device open: unbind returns only once it is
// closed.
type heldDevice struct {
	*sysfstest.Tree
	closed chan struct{}
	probed chan struct{}
}

func (h heldDevice) WriteAttr(path string, data []byte) error {
	if strings.HasSuffix(path, "/unbind") {
		<-h.closed
	}
	err := h.Tree.WriteAttr(path, data)
	if strings.HasSuffix(path, "/drivers_probe") {
		close(h.probed)
	}
	return err
}

func TestBindDriverDoesNotHangOnAnOpenDevice(t *testing.T) {
	held := heldDevice{vfTree(t, "vfio-pci"), make(chan struct{}), make(chan struct{})}
	f := held.FS().WithWriter(held).WithTimeout(time.Millisecond)
	checkError(t, f.BindDriver(vf0Addr, "igbvf"), sysfs.ErrBusy, "probably because a process has the device open")
	// A second attempt would wait behind the first.
	checkError(t, f.BindDriver(vf0Addr, "vfio-pci"), sysfs.ErrBusy, "an earlier change of it still waits in the kernel")
	close(held.closed)
	<-held.probed // the change that was begun completes once the process lets go
	checkError(t, held.FS().BindDriver(vf0Addr, "igbvf"), nil, "")
	if vf, err := f.VF(vf0Addr); err != nil || vf.Netdev != "ens1f0v0" {
		t.Errorf("left %+v, %v; want the netdev back", vf, err)
	}
	if diff := cmp.Diff([]string{"0000:3b:10.0/driver_override igbvf", "0000:3b:10.0/driver/unbind 0000:3b:10.0", "drivers_probe 0000:3b:10.0"}, held.Writes()); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
}

// heldVF is a kernel in which a process has a VF open: its PF drops the VF only once it is
// closed.
type heldVF struct {
	*sysfstest.Tree
	closed chan struct{}
	begun  chan struct{}
}

func (h heldVF) WriteAttr(path string, data []byte) error {
	close(h.begun) // at most once
	<-h.closed
	return h.Tree.WriteAttr(path, data)
}

func TestSetNumVFsDoesNotHangOnAnOpenVF(t *testing.T) {
	held := heldVF{vfTree(t, "vfio-pci"), make(chan struct{}), make(chan struct{})}
	f := held.FS().WithWriter(held).WithTimeout(time.Millisecond)
	checkError(t, f.SetNumVFs(pfAddr, 0), sysfs.ErrBusy, "probably because a process has the device open")
	<-held.begun
	checkError(t, f.SetNumVFs(pfAddr, 0), sysfs.ErrBusy, "an earlier change of it still waits in the kernel")
	close(held.closed)
	f = f.WithWriter(held.Tree).WithTimeout(time.Minute)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f.SetNumVFs(pfAddr, 0) == nil {
			break
		}
	}
	checkError(t, f.SetNumVFs(pfAddr, 3), nil, "")
}

func TestVFIOOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		driver string
		nodes  map[string]error // below the root
		want   bool
	}{
		"in use, as the host shows":    {"vfio-pci", map[string]error{"proc/1/root/dev/vfio/10": unix.EBUSY}, true},
		"in use, as our own /dev says": {"vfio-pci", map[string]error{"dev/vfio/10": unix.EBUSY}, true},
		"free":                         {"vfio-pci", map[string]error{"proc/1/root/dev/vfio/10": nil, "dev/vfio/10": unix.EBUSY}, false},
		"not allowed":                  {"vfio-pci", map[string]error{"dev/vfio/10": unix.EPERM}, false},
		"no node":                      {"vfio-pci", nil, false},
		"another driver":               {"igbvf", map[string]error{"dev/vfio/10": unix.EBUSY}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tree := vfTree(t, tt.driver)
			f := tree.FS().WithOpener(func(path string) error {
				rel, err := filepath.Rel(tree.Root, path)
				if err != nil {
					t.Fatal(err)
				}
				if err, ok := tt.nodes[rel]; ok {
					return err
				}
				return unix.ENOENT
			})
			if got := f.VFIOOpen(vf0Addr); got != tt.want {
				t.Errorf("VFIOOpen = %v", got)
			}
		})
	}
}
