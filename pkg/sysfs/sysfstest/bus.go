package sysfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// bus has the functions of a Tree, and keeps their files in the kernel's layout. Tree.mu guards
// it.
type bus struct {
	t     testing.TB
	files files
	// functions that are or were on the bus: a VF keeps its netdev's name and MAC while another
	// driver is bound
	functions  map[pci.Address]*function
	templates  map[pci.Address]VFTemplate // PF -> the VFs that it creates
	refused    map[string]bool            // "ADDR driver" -> its probe does not bind
	nextIndex  int
	nextGroup  int
	nextVirtio int
}

type function struct {
	netdev, mac, linkType, operState string
	mtu                              int
	carrier                          bool
	driver                           string // the driver that the kernel binds by itself
	virtio                           string // its device on the virtio bus
}

func newBus(t testing.TB, root files) *bus {
	for _, dir := range []string{"sys/bus/pci/devices", "sys/class/net", "sys/class/infiniband", "sys/devices/pci0000:00"} {
		root.mkdir(dir)
	}
	root.write("sys/bus/pci/drivers_probe", "")
	return &bus{
		t: t, files: root, functions: map[pci.Address]*function{}, templates: map[pci.Address]VFTemplate{},
		refused: map[string]bool{}, nextIndex: 2, nextGroup: 100,
	}
}

func (b *bus) addVF(vf device.VF) {
	if vf.Index < 0 {
		b.t.Fatalf("VF %s: index %d", vf.Address, vf.Index)
	}
	f := &function{netdev: vf.Netdev, mac: vf.MAC, mtu: vf.MTU, linkType: vf.LinkType, driver: vf.Driver}
	if vf.Userspace() {
		f.driver = "igbvf"
	}
	b.addFunction(vf.Address, f, vf.Vendor, vf.Device, vf.NUMANode, vf.IOMMUGroup, vf.RDMADevices)
	if vf.ACPIIndex != "" {
		b.files.write(dev(vf.Address)+"/acpi_index", vf.ACPIIndex)
	}
	if !vf.PF.IsZero() {
		b.files.symlink("../"+vf.PF.String(), dev(vf.Address)+"/physfn")
		b.files.symlink("../"+vf.Address.String(), fmt.Sprintf("%s/virtfn%d", dev(vf.PF), vf.Index))
	}
	b.bindTo(vf.Address, vf.Driver, vf.Nodes)
}

func (b *bus) addPhysical(pf device.PF) {
	f := &function{
		netdev: pf.Netdev, mac: pf.MAC, mtu: pf.MTU, linkType: pf.LinkType,
		operState: pf.OperState, carrier: pf.Carrier, driver: pf.Driver,
	}
	b.addFunction(pf.Address, f, pf.Vendor, pf.Device, pf.NUMANode, pf.IOMMUGroup, pf.RDMADevices)
	if pf.ACPIIndex != "" {
		b.files.write(dev(pf.Address)+"/acpi_index", pf.ACPIIndex)
	}
	b.bindTo(pf.Address, pf.Driver, pf.Nodes)
}

// bindTo binds the driver that a value has, and adds the nodes that it makes.
func (b *bus) bindTo(addr pci.Address, driver string, nodes device.Nodes) {
	for _, name := range nodes.Verbs {
		b.files.mkdir(dev(addr) + "/infiniband_verbs/" + name)
	}
	if nodes.UIO != "" {
		b.files.mkdir(dev(addr) + "/uio/" + nodes.UIO)
	}
	if device.UserspaceDriver(driver) {
		b.files.write(dev(addr)+"/driver_override", driver)
	}
	b.bind(addr, driver)
}

func (b *bus) addFunction(addr pci.Address, f *function, vendor, model string, numaNode, group int, rdma []string) {
	b.functions[addr] = f
	dir := dev(addr)
	b.files.mkdir(dir)
	b.files.symlink("../../../devices/pci0000:00/"+addr.String(), "sys/bus/pci/devices/"+addr.String())
	b.files.write(dir+"/vendor", "0x"+vendor)
	b.files.write(dir+"/device", "0x"+model)
	b.files.write(dir+"/class", "0x020000")
	b.files.write(dir+"/numa_node", strconv.Itoa(numaNode))
	b.files.write(dir+"/driver_override", "(null)")
	if group >= 0 {
		members := "sys/kernel/iommu_groups/" + strconv.Itoa(group) + "/devices"
		b.files.mkdir(members)
		b.files.symlink("../../../../devices/pci0000:00/"+addr.String(), members+"/"+addr.String())
		b.files.symlink("../../../kernel/iommu_groups/"+strconv.Itoa(group), dir+"/iommu_group")
	}
	for _, name := range rdma {
		b.files.mkdir(dir + "/infiniband/" + name)
		b.files.symlink("../../devices/pci0000:00/"+addr.String()+"/infiniband/"+name, "sys/class/infiniband/"+name)
	}
}

func (b *bus) remove(addr pci.Address) {
	b.unbind(addr)
	if pf, err := os.Readlink(b.files.abs(dev(addr) + "/physfn")); err == nil {
		links, _ := filepath.Glob(b.files.abs(dev(pci.MustParseAddress(filepath.Base(pf))) + "/virtfn*"))
		for _, link := range links {
			if target, _ := os.Readlink(link); filepath.Base(target) == addr.String() {
				check(os.Remove(link))
			}
		}
	}
	check(os.Remove(b.files.abs("sys/bus/pci/devices/" + addr.String())))
	if group, err := os.Readlink(b.files.abs(dev(addr) + "/iommu_group")); err == nil {
		check(os.Remove(b.files.abs("sys/kernel/iommu_groups/" + filepath.Base(group) + "/devices/" + addr.String())))
	}
	check(os.RemoveAll(b.files.abs(dev(addr))))
	delete(b.functions, addr)
}

func (b *bus) addNetdev(addr pci.Address) {
	f := b.functions[addr]
	if f == nil || f.netdev == "" {
		return
	}
	parent := b.netdevParent(addr)
	dir := parent + "/net/" + f.netdev
	kind := "1"
	if f.linkType == "infiniband" {
		kind = "32"
	}
	carrier := "0"
	if f.carrier {
		carrier = "1"
	}
	b.files.mkdir(dir)
	for attr, value := range map[string]string{
		"address": f.mac, "mtu": strconv.Itoa(max(f.mtu, 1500)), "type": kind,
		"ifindex": strconv.Itoa(b.nextIndex), "operstate": f.operState, "carrier": carrier,
	} {
		b.files.write(dir+"/"+attr, value)
	}
	b.nextIndex++
	b.files.symlink("../../../"+filepath.Base(parent), dir+"/device")
	b.files.symlink("../../../"+dir, "sys/class/net/"+f.netdev)
}

// netdevParent returns the directory of the device that a function's netdev belongs to.
func (b *bus) netdevParent(addr pci.Address) string {
	if driver, _ := os.Readlink(b.files.abs(dev(addr) + "/driver")); filepath.Base(driver) != "virtio-pci" {
		return dev(addr)
	}
	if f := b.functions[addr]; f.virtio == "" {
		f.virtio = "virtio" + strconv.Itoa(b.nextVirtio)
		b.nextVirtio++
	}
	return dev(addr) + "/" + b.functions[addr].virtio
}

func (b *bus) removeNetdev(addr pci.Address) {
	f := b.functions[addr]
	if f == nil || f.netdev == "" {
		return
	}
	for _, path := range []string{"sys/class/net/" + f.netdev, dev(addr) + "/" + f.virtio + "/net/" + f.netdev} {
		check(os.RemoveAll(b.files.abs(path)))
	}
}
