// Package sysfstest builds a /sys from device values below a temporary directory, with the
// kernel's layout, and answers writes as the kernel would. VFs appear and vanish with
// sriov_numvfs, netdevs with their drivers, and a write that the kernel refuses fails with its
// errno. A test may make any write fail.
//
// It simulates the PCI side only: a netdev's knobs (VLAN, trust, MAC) belong to netlink, which
// plain files cannot answer.
package sysfstest

import (
	"strconv"
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

	mu       sync.Mutex // guards the fields below, and the files
	bus      *bus
	failures map[int]error // number of the write -> its error
	writes   []string
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
	tree := &Tree{Root: t.TempDir(), failures: map[int]error{}}
	tree.bus = newBus(t, files(tree.Root))
	tree.LoadDriver("igb", "igbvf", "vfio-pci")
	return tree
}

// FS returns the sysfs of this tree, with writes answered as the kernel would.
func (tr *Tree) FS() sysfs.FS { return sysfs.New(tr.Root).WithWriter(tr) }

// LoadDriver makes drivers known to the PCI bus.
func (tr *Tree) LoadDriver(names ...string) {
	for _, name := range names {
		tr.bus.files.mkdir("sys/bus/pci/drivers/" + name)
	}
}

// AddPF adds a PF with its VFs, and sets sriov_numvfs to their number.
func (tr *Tree) AddPF(pf device.PF) {
	tr.bus.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.addPhysical(pf)
	tr.bus.files.write(dev(pf.Address)+"/sriov_totalvfs", strconv.Itoa(pf.TotalVFs))
	tr.bus.files.write(dev(pf.Address)+"/sriov_numvfs", strconv.Itoa(len(pf.VFs)))
	for _, vf := range pf.VFs {
		vf.PF = pf.Address
		tr.bus.addVF(vf)
	}
}

// AddNIC adds a NIC without SR-IOV. That of virtio-pci has its netdev below the virtio bus.
func (tr *Tree) AddNIC(nic device.PF) {
	tr.bus.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.addPhysical(nic)
}

// AddVF adds one VF: below its PF, or on its own (as inside a virtual machine) if vf.PF is
// zero. The count in sriov_numvfs follows.
func (tr *Tree) AddVF(vf device.VF) {
	tr.bus.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.addVF(vf)
	if !vf.PF.IsZero() {
		tr.bus.files.write(dev(vf.PF)+"/sriov_numvfs", strconv.Itoa(tr.bus.numVFs(vf.PF)+1))
	}
}

// SetTemplate sets what VFs a PF creates from now on.
func (tr *Tree) SetTemplate(pf pci.Address, template VFTemplate) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.templates[pf] = template
}

// Remove takes a function off the bus, as if it were unplugged.
func (tr *Tree) Remove(addr pci.Address) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.remove(addr)
}

// HideNetdev makes the netdev of a function invisible, as if it were moved into a pod's network
// namespace.
func (tr *Tree) HideNetdev(addr pci.Address) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.removeNetdev(addr)
}

// ShowNetdev makes the netdev visible again under a name, which may be a new one.
func (tr *Tree) ShowNetdev(addr pci.Address, name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.removeNetdev(addr)
	tr.bus.functions[addr].netdev = name
	tr.bus.addNetdev(addr)
}

// ShowRepresentor adds another netdev to a PF, with the kernel's name for its
// port, as switchdev mode does.
func (tr *Tree) ShowRepresentor(pf pci.Address, name, portName string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	dir := dev(pf) + "/net/" + name
	tr.bus.files.mkdir(dir)
	tr.bus.files.write(dir+"/phys_port_name", portName)
}

// AddUIO gives a function that is bound to a uio driver its uio device.
func (tr *Tree) AddUIO(addr pci.Address, name string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.files.mkdir(dev(addr) + "/uio/" + name)
}

// SetAttr writes an attribute of a function as the kernel would change it, for
// example "net/eth1/mtu".
func (tr *Tree) SetAttr(addr pci.Address, attr, value string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.bus.files.write(dev(addr)+"/"+attr, value)
}

// SetNoIOMMU makes the IOMMU group of a function one that VFIO has created.
func (tr *Tree) SetNoIOMMU(addr pci.Address) {
	tr.SetAttr(addr, "iommu_group/name", "vfio-noiommu")
}
