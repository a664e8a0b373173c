package sysfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
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
	tr.refused[addr.String()+" "+driver] = true
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
	rel, err := filepath.Rel(tr.abs("sys/bus/pci"), path)
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
	if err := tr.handle(rel, value); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

func (tr *Tree) handle(rel, value string) error {
	if rel == "drivers_probe" {
		addr, err := pci.ParseAddress(value)
		if err != nil || tr.functions[addr] == nil {
			return unix.EINVAL
		}
		tr.probe(addr)
		return nil
	}
	name, attr, _ := strings.Cut(rel, "/")
	addr, err := pci.ParseAddress(name)
	if err != nil {
		return unix.EINVAL
	}
	switch attr {
	case "sriov_numvfs":
		return tr.setNumVFs(addr, value)
	case "driver_override":
		if value == "" {
			value = "(null)"
		}
		tr.write(tr.dev(addr)+"/driver_override", value)
		return nil
	case "driver/unbind":
		if value != addr.String() {
			return unix.ENODEV
		}
		tr.unbind(addr)
		return nil
	}
	return unix.EACCES
}

func (tr *Tree) numVFs(pf pci.Address) int {
	n, err := strconv.Atoi(tr.read(tr.dev(pf) + "/sriov_numvfs"))
	tr.check(err)
	return n
}

func (tr *Tree) setNumVFs(pf pci.Address, value string) error {
	want, err := strconv.Atoi(value)
	if err != nil {
		return unix.EINVAL
	}
	total, err := strconv.Atoi(tr.read(tr.dev(pf) + "/sriov_totalvfs"))
	tr.check(err)
	if want > total {
		return unix.ERANGE
	}
	current := tr.numVFs(pf)
	switch {
	case want == current:
		return nil
	case want > 0 && current > 0:
		return unix.EBUSY
	case want == 0:
		for i := range current {
			if target, err := os.Readlink(tr.abs(fmt.Sprintf("%s/virtfn%d", tr.dev(pf), i))); err == nil {
				tr.remove(pci.MustParseAddress(filepath.Base(target)))
			}
		}
	default:
		for i := range want {
			tr.addVF(tr.makeVF(pf, i))
		}
	}
	tr.write(tr.dev(pf)+"/sriov_numvfs", value)
	return nil
}

// makeVF returns VF i of a PF as the hardware would create it.
func (tr *Tree) makeVF(pf pci.Address, i int) device.VF {
	tpl := tr.templates[pf]
	if tpl.Device == "" {
		tpl.Device = "10ca"
	}
	if tpl.Driver == "" {
		tpl.Driver = "igbvf"
	}
	if tpl.Stride == 0 {
		tpl.Offset, tpl.Stride = 128, 2
	}
	numaNode, err := strconv.Atoi(tr.read(tr.dev(pf) + "/numa_node"))
	tr.check(err)
	tr.nextGroup++
	vf := device.VF{
		Address: VFAddress(pf, tpl.Offset, tpl.Stride, i), PF: pf, Index: i,
		Vendor: strings.TrimPrefix(tr.read(tr.dev(pf)+"/vendor"), "0x"), Device: tpl.Device, Driver: tpl.Driver,
		LinkType: "ether", MTU: 1500, NUMANode: numaNode, IOMMUGroup: tr.nextGroup,
	}
	vf.MAC = fmt.Sprintf("02:00:00:%02x:%02x:%02x", vf.Address.Bus, vf.Address.Device<<3|vf.Address.Function, i)
	if parent := tr.functions[pf]; parent != nil && parent.netdev != "" {
		vf.Netdev = fmt.Sprintf("%sv%d", parent.netdev, i)
	}
	return vf
}

// VFAddress returns the address of VF i of a PF, by the offset and stride of routing ids in the
// PF's SR-IOV capability.
func VFAddress(pf pci.Address, offset, stride, i int) pci.Address {
	rid := int(pf.Bus)<<8 | int(pf.Device)<<3 | int(pf.Function)
	rid += offset + stride*i
	return pci.Address{Domain: pf.Domain, Bus: uint8(rid >> 8), Device: uint8(rid >> 3 & 0x1f), Function: uint8(rid & 7)}
}

func (tr *Tree) probe(addr pci.Address) {
	if _, err := os.Readlink(tr.abs(tr.dev(addr) + "/driver")); err == nil {
		return // already bound: nothing to probe
	}
	driver := tr.read(tr.dev(addr) + "/driver_override")
	if driver == "(null)" {
		driver = tr.functions[addr].driver
	}
	tr.bind(addr, driver)
}

func (tr *Tree) bind(addr pci.Address, driver string) {
	if driver == "" || tr.refused[addr.String()+" "+driver] {
		return
	}
	if _, err := os.Stat(tr.abs("sys/bus/pci/drivers/" + driver)); err != nil {
		return
	}
	tr.symlink("../../../bus/pci/drivers/"+driver, tr.dev(addr)+"/driver")
	tr.write("sys/bus/pci/drivers/"+driver+"/unbind", "")
	if !device.UserspaceDriver(driver) {
		tr.addNetdev(addr)
	}
}

func (tr *Tree) unbind(addr pci.Address) {
	tr.removeNetdev(addr)
	if err := os.Remove(tr.abs(tr.dev(addr) + "/driver")); err != nil && !os.IsNotExist(err) {
		tr.check(err)
	}
}
