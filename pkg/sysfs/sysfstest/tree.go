// Package sysfstest builds a /sys from device values below a temporary directory, with the
// kernel's layout, and answers writes as the kernel would. VFs appear and vanish with
// sriov_numvfs, netdevs with their drivers, and a write that the kernel refuses fails with its
// errno. A test may make any write fail.
//
// It simulates the PCI side only: a netdev's knobs (VLAN, trust, MAC) belong to netlink, which
// plain files cannot answer.
package sysfstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Tree is a simulated /sys. Its methods fail the test on an error. They may be called from
// several goroutines.
type Tree struct {
	Root string

	t  testing.TB
	mu sync.Mutex // guards the fields below, and the files
	// functions that are or were on the bus: a VF keeps its netdev's name and MAC while another
	// driver is bound
	functions map[pci.Address]*function
	templates map[pci.Address]VFTemplate // PF -> the VFs that it creates
	refused   map[string]bool            // "ADDR driver" -> its probe does not bind
	failures  map[int]error              // number of the write -> its error
	writes    []string
	nextIndex int
	nextGroup int
}

type function struct {
	netdev, mac, linkType, operState string
	mtu                              int
	carrier                          bool
	driver                           string // the driver that the kernel binds by itself
}

// VFTemplate describes the VFs that a PF creates when sriov_numvfs is written.
type VFTemplate struct {
	Device string // id, default "10ca"
	Driver string // default "igbvf"
	Offset int    // from the PF's routing id to the first VF's, default 128
	Stride int    // default 2
}

// New creates an empty tree in which the drivers igb, igbvf and vfio-pci are loaded.
func New(t testing.TB) *Tree {
	t.Helper()
	tree := &Tree{
		Root: t.TempDir(), t: t,
		functions: map[pci.Address]*function{}, templates: map[pci.Address]VFTemplate{},
		refused: map[string]bool{}, failures: map[int]error{},
		nextIndex: 2, nextGroup: 100,
	}
	for _, dir := range []string{"sys/bus/pci/devices", "sys/class/net", "sys/class/infiniband", "sys/devices/pci0000:00"} {
		tree.mkdir(dir)
	}
	tree.write("sys/bus/pci/drivers_probe", "")
	tree.LoadDriver("igb", "igbvf", "vfio-pci")
	return tree
}

// FS returns the sysfs of this tree, with writes answered as the kernel would.
func (tr *Tree) FS() sysfs.FS { return sysfs.New(tr.Root).WithWriter(tr) }

// LoadDriver makes drivers known to the PCI bus.
func (tr *Tree) LoadDriver(names ...string) {
	for _, name := range names {
		tr.mkdir("sys/bus/pci/drivers/" + name)
	}
}

// AddPF adds a PF with its VFs, and sets sriov_numvfs to their number.
func (tr *Tree) AddPF(pf device.PF) {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f := &function{
		netdev: pf.Netdev, mac: pf.MAC, mtu: pf.MTU, linkType: pf.LinkType,
		operState: pf.OperState, carrier: pf.Carrier, driver: pf.Driver,
	}
	tr.addFunction(pf.Address, f, pf.Vendor, pf.Device, pf.NUMANode, pf.IOMMUGroup, pf.RDMADevices)
	tr.write(tr.dev(pf.Address)+"/sriov_totalvfs", strconv.Itoa(pf.TotalVFs))
	tr.write(tr.dev(pf.Address)+"/sriov_numvfs", strconv.Itoa(len(pf.VFs)))
	tr.bind(pf.Address, pf.Driver)
	for _, vf := range pf.VFs {
		vf.PF = pf.Address
		tr.addVF(vf)
	}
}

// AddVF adds one VF: below its PF, or on its own (as inside a virtual machine) if vf.PF is
// zero. The count in sriov_numvfs follows.
func (tr *Tree) AddVF(vf device.VF) {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.addVF(vf)
	if !vf.PF.IsZero() {
		tr.write(tr.dev(vf.PF)+"/sriov_numvfs", strconv.Itoa(tr.numVFs(vf.PF)+1))
	}
}

// SetTemplate sets what VFs a PF creates from now on.
func (tr *Tree) SetTemplate(pf pci.Address, template VFTemplate) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.templates[pf] = template
}

// Remove takes a function off the bus, as if it were unplugged.
func (tr *Tree) Remove(addr pci.Address) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.remove(addr)
}

// HideNetdev makes the netdev of a function invisible, as if it were moved into a pod's network
// namespace.
func (tr *Tree) HideNetdev(addr pci.Address) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.removeNetdev(addr)
}

// ShowNetdev makes the netdev visible again under a name, which may be a new one.
func (tr *Tree) ShowNetdev(addr pci.Address, name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.removeNetdev(addr)
	tr.functions[addr].netdev = name
	tr.addNetdev(addr)
}

// ShowRepresentor adds another netdev to a PF, with the kernel's name for its
// port, as switchdev mode does.
func (tr *Tree) ShowRepresentor(pf pci.Address, name, portName string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	dir := tr.dev(pf) + "/net/" + name
	tr.mkdir(dir)
	tr.write(dir+"/phys_port_name", portName)
}

// AddUIO gives a function that is bound to a uio driver its uio device.
func (tr *Tree) AddUIO(addr pci.Address, name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.mkdir(tr.dev(addr) + "/uio/" + name)
}

// SetAttr writes an attribute of a function as the kernel would change it, for
// example "net/eth1/mtu".
func (tr *Tree) SetAttr(addr pci.Address, attr, value string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.write(tr.dev(addr)+"/"+attr, value)
}

// SetNoIOMMU makes the IOMMU group of a function one that VFIO has created.
func (tr *Tree) SetNoIOMMU(addr pci.Address) {
	tr.SetAttr(addr, "iommu_group/name", "vfio-noiommu")
}

func (tr *Tree) addVF(vf device.VF) {
	if vf.Index < 0 {
		tr.t.Fatalf("VF %s: index %d", vf.Address, vf.Index)
	}
	f := &function{netdev: vf.Netdev, mac: vf.MAC, mtu: vf.MTU, linkType: vf.LinkType, driver: vf.Driver}
	if vf.Userspace() {
		f.driver = "igbvf"
	}
	tr.addFunction(vf.Address, f, vf.Vendor, vf.Device, vf.NUMANode, vf.IOMMUGroup, vf.RDMADevices)
	if vf.ACPIIndex != "" {
		tr.write(tr.dev(vf.Address)+"/acpi_index", vf.ACPIIndex)
	}
	if !vf.PF.IsZero() {
		tr.symlink("../"+vf.PF.String(), tr.dev(vf.Address)+"/physfn")
		tr.symlink("../"+vf.Address.String(), fmt.Sprintf("%s/virtfn%d", tr.dev(vf.PF), vf.Index))
	}
	for _, name := range vf.Verbs {
		tr.mkdir(tr.dev(vf.Address) + "/infiniband_verbs/" + name)
	}
	if vf.UIO != "" {
		tr.mkdir(tr.dev(vf.Address) + "/uio/" + vf.UIO)
	}
	if vf.Userspace() {
		tr.write(tr.dev(vf.Address)+"/driver_override", vf.Driver)
	}
	tr.bind(vf.Address, vf.Driver)
}

func (tr *Tree) addFunction(addr pci.Address, f *function, vendor, dev string, numaNode, group int, rdma []string) {
	tr.functions[addr] = f
	dir := tr.dev(addr)
	tr.mkdir(dir)
	tr.symlink("../../../devices/pci0000:00/"+addr.String(), "sys/bus/pci/devices/"+addr.String())
	tr.write(dir+"/vendor", "0x"+vendor)
	tr.write(dir+"/device", "0x"+dev)
	tr.write(dir+"/class", "0x020000")
	tr.write(dir+"/numa_node", strconv.Itoa(numaNode))
	tr.write(dir+"/driver_override", "(null)")
	if group >= 0 {
		members := "sys/kernel/iommu_groups/" + strconv.Itoa(group) + "/devices"
		tr.mkdir(members)
		tr.symlink("../../../../devices/pci0000:00/"+addr.String(), members+"/"+addr.String())
		tr.symlink("../../../kernel/iommu_groups/"+strconv.Itoa(group), dir+"/iommu_group")
	}
	for _, name := range rdma {
		tr.mkdir(dir + "/infiniband/" + name)
		tr.symlink("../../devices/pci0000:00/"+addr.String()+"/infiniband/"+name, "sys/class/infiniband/"+name)
	}
}

func (tr *Tree) remove(addr pci.Address) {
	tr.unbind(addr)
	if pf, err := os.Readlink(tr.abs(tr.dev(addr) + "/physfn")); err == nil {
		links, _ := filepath.Glob(tr.abs(tr.dev(pci.MustParseAddress(filepath.Base(pf))) + "/virtfn*"))
		for _, link := range links {
			if target, _ := os.Readlink(link); filepath.Base(target) == addr.String() {
				tr.check(os.Remove(link))
			}
		}
	}
	tr.check(os.Remove(tr.abs("sys/bus/pci/devices/" + addr.String())))
	if group, err := os.Readlink(tr.abs(tr.dev(addr) + "/iommu_group")); err == nil {
		tr.check(os.Remove(tr.abs("sys/kernel/iommu_groups/" + filepath.Base(group) + "/devices/" + addr.String())))
	}
	tr.check(os.RemoveAll(tr.abs(tr.dev(addr))))
	delete(tr.functions, addr)
}

func (tr *Tree) addNetdev(addr pci.Address) {
	f := tr.functions[addr]
	if f == nil || f.netdev == "" {
		return
	}
	dir := tr.dev(addr) + "/net/" + f.netdev
	kind := "1"
	if f.linkType == "infiniband" {
		kind = "32"
	}
	carrier := "0"
	if f.carrier {
		carrier = "1"
	}
	tr.mkdir(dir)
	for attr, value := range map[string]string{
		"address": f.mac, "mtu": strconv.Itoa(max(f.mtu, 1500)), "type": kind,
		"ifindex": strconv.Itoa(tr.nextIndex), "operstate": f.operState, "carrier": carrier,
	} {
		tr.write(dir+"/"+attr, value)
	}
	tr.nextIndex++
	tr.symlink("../../../"+addr.String(), dir+"/device")
	tr.symlink("../../devices/pci0000:00/"+addr.String()+"/net/"+f.netdev, "sys/class/net/"+f.netdev)
}

func (tr *Tree) removeNetdev(addr pci.Address) {
	names, _ := filepath.Glob(tr.abs(tr.dev(addr) + "/net/*"))
	for _, name := range names {
		tr.check(os.Remove(tr.abs("sys/class/net/" + filepath.Base(name))))
	}
	tr.check(os.RemoveAll(tr.abs(tr.dev(addr) + "/net")))
}

func (tr *Tree) dev(addr pci.Address) string { return "sys/devices/pci0000:00/" + addr.String() }

func (tr *Tree) abs(path string) string { return filepath.Join(tr.Root, path) }

func (tr *Tree) mkdir(path string) { tr.check(os.MkdirAll(tr.abs(path), 0o755)) }

func (tr *Tree) symlink(target, path string) { tr.check(os.Symlink(target, tr.abs(path))) }

func (tr *Tree) write(path, text string) {
	tr.check(os.WriteFile(tr.abs(path), []byte(text+"\n"), 0o644))
}

func (tr *Tree) read(path string) string {
	text, err := os.ReadFile(tr.abs(path))
	tr.check(err)
	return strings.TrimSpace(string(text))
}

// check panics. A tree that cannot be built is not a failure of the code under test, and a
// write may arrive on a goroutine in which Fatal must not be called.
func (tr *Tree) check(err error) {
	if err != nil {
		panic(fmt.Sprintf("sysfstest: %v", err))
	}
}
