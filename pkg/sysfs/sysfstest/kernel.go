package sysfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// handle answers a write as the kernel would. rel is the path below sys/bus/pci, without devices/.
func (b *bus) handle(rel, value string) error {
	if rel == "drivers_probe" {
		addr, err := pci.ParseAddress(value)
		if err != nil || b.functions[addr] == nil {
			return unix.EINVAL
		}
		b.probe(addr)
		return nil
	}
	name, attr, _ := strings.Cut(rel, "/")
	addr, err := pci.ParseAddress(name)
	if err != nil {
		return unix.EINVAL
	}
	switch attr {
	case "sriov_numvfs":
		return b.setNumVFs(addr, value)
	case "driver_override":
		if value == "" {
			value = "(null)"
		}
		b.files.write(dev(addr)+"/driver_override", value)
		return nil
	case "driver/unbind":
		if value != addr.String() {
			return unix.ENODEV
		}
		b.unbind(addr)
		return nil
	}
	return unix.EACCES
}

func (b *bus) numVFs(pf pci.Address) int {
	n, err := strconv.Atoi(b.files.read(dev(pf) + "/sriov_numvfs"))
	check(err)
	return n
}

func (b *bus) setNumVFs(pf pci.Address, value string) error {
	want, err := strconv.Atoi(value)
	if err != nil {
		return unix.EINVAL
	}
	total, err := strconv.Atoi(b.files.read(dev(pf) + "/sriov_totalvfs"))
	check(err)
	if want > total {
		return unix.ERANGE
	}
	current := b.numVFs(pf)
	switch {
	case want == current:
		return nil
	case want > 0 && current > 0:
		return unix.EBUSY
	case want == 0:
		for i := range current {
			if target, err := os.Readlink(b.files.abs(fmt.Sprintf("%s/virtfn%d", dev(pf), i))); err == nil {
				b.remove(pci.MustParseAddress(filepath.Base(target)))
			}
		}
	default:
		for i := range want {
			b.addVF(b.makeVF(pf, i))
		}
	}
	b.files.write(dev(pf)+"/sriov_numvfs", value)
	return nil
}

// makeVF returns VF i of a PF as the hardware would create it.
func (b *bus) makeVF(pf pci.Address, i int) device.VF {
	tpl := b.templates[pf]
	if tpl.Device == "" {
		tpl.Device = "10ca"
	}
	if tpl.Driver == "" {
		tpl.Driver = "igbvf"
	}
	if tpl.Stride == 0 {
		tpl.Offset, tpl.Stride = 128, 2
	}
	numaNode, err := strconv.Atoi(b.files.read(dev(pf) + "/numa_node"))
	check(err)
	b.nextGroup++
	vf := device.VF{
		Address: VFAddress(pf, tpl.Offset, tpl.Stride, i), PF: pf, Index: i,
		Vendor: strings.TrimPrefix(b.files.read(dev(pf)+"/vendor"), "0x"), Device: tpl.Device, Driver: tpl.Driver,
		LinkType: "ether", MTU: 1500, NUMANode: numaNode, IOMMUGroup: b.nextGroup,
	}
	vf.MAC = fmt.Sprintf("02:00:00:%02x:%02x:%02x", vf.Address.Bus, vf.Address.Device<<3|vf.Address.Function, i)
	if parent := b.functions[pf]; parent != nil && parent.netdev != "" {
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

func (b *bus) probe(addr pci.Address) {
	if _, err := os.Readlink(b.files.abs(dev(addr) + "/driver")); err == nil {
		return // already bound: nothing to probe
	}
	driver := b.files.read(dev(addr) + "/driver_override")
	if driver == "(null)" {
		driver = b.functions[addr].driver
	}
	b.bind(addr, driver)
}

func (b *bus) bind(addr pci.Address, driver string) {
	if driver == "" || b.refused[addr.String()+" "+driver] {
		return
	}
	if _, err := os.Stat(b.files.abs("sys/bus/pci/drivers/" + driver)); err != nil {
		return
	}
	b.files.symlink("../../../bus/pci/drivers/"+driver, dev(addr)+"/driver")
	b.files.write("sys/bus/pci/drivers/"+driver+"/unbind", "")
	if !device.UserspaceDriver(driver) {
		b.addNetdev(addr)
	}
}

func (b *bus) unbind(addr pci.Address) {
	b.removeNetdev(addr)
	if err := os.Remove(b.files.abs(dev(addr) + "/driver")); err != nil && !os.IsNotExist(err) {
		check(err)
	}
}
