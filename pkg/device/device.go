// Package device defines the values that the rest of Fairlead works with: physical functions
// (PFs), virtual functions (VFs), their settings, and pools of VFs. It also matches VFs against
// pools. It does no I/O and does not know Kubernetes: pkg/inventory fills the values,
// deviceplugin advertises the pools.
package device

import (
	"strings"

	"fairlead.dev/fairlead/pkg/pci"
)

// PF is a physical function that can have VFs, in its current state.
type PF struct {
	Address     pci.Address `json:"address"`
	Vendor      string      `json:"vendor"`                // four hex digits, "8086"
	Device      string      `json:"device"`                // four hex digits, "10c9"
	VendorName  string      `json:"vendorName,omitempty"`  // from the PCI id database, may be empty
	ProductName string      `json:"productName,omitempty"` // from the PCI id database, may be empty
	Driver      string      `json:"driver,omitempty"`
	Netdev      string      `json:"netdev,omitempty"` // the uplink's name; empty if no driver is bound
	AltNames    []string    `json:"altNames,omitempty"`
	// EarlierNames are names that the netdev had when the configuration was read, and that no
	// netdev has now. Selectors still match them. See Names.
	EarlierNames []string `json:"earlierNames,omitempty"`
	Ifindex      int      `json:"ifindex,omitempty"`
	LinkType     string   `json:"linkType,omitempty"` // "ether" or "infiniband"
	Carrier      bool     `json:"carrier"`
	OperState    string   `json:"operState,omitempty"` // up, down, unknown …
	MAC          string   `json:"mac,omitempty"`
	MTU          int      `json:"mtu,omitempty"` // bytes
	NUMANode     int      `json:"numaNode"`      // -1: unknown
	IOMMUGroup   int      `json:"iommuGroup"`    // -1: no group
	RDMADevices  []string `json:"rdmaDevices,omitempty"`
	EswitchMode  string   `json:"eswitchMode,omitempty"` // "legacy", "switchdev"; empty if devlink reports no mode
	TotalVFs     int      `json:"totalVFs"`              // 0: a NIC without SR-IOV
	NumVFs       int      `json:"numVFs"`
	NoAutoprobe  bool     `json:"noAutoprobe,omitempty"` // sriov_drivers_autoprobe is 0: new VFs get no driver
	VFs          []VF     `json:"vfs,omitempty"`         // in order of index
	// OtherNetdevs are further netdevs of the function, as of a NIC with two ports in one
	// function. Representors are not among them.
	OtherNetdevs []string `json:"otherNetdevs,omitempty"`
	ACPIIndex    string   `json:"acpiIndex,omitempty"`
	Nodes
}

// Nodes are the nodes below /dev through which userspace opens a function.
type Nodes struct {
	VFIOGroup string   `json:"vfioGroup,omitempty"` // "12", or "noiommu-12"; empty unless bound to VFIO
	UIO       string   `json:"uio,omitempty"`       // "uio0"; empty unless bound to a uio driver
	Verbs     []string `json:"verbs,omitempty"`     // "uverbs3"
}

// NoIOMMU reports whether the function is bound to VFIO without an IOMMU, so that a program with
// the function can read and write all memory of the node.
func (n Nodes) NoIOMMU() bool { return strings.HasPrefix(n.VFIOGroup, "noiommu-") }

// WholeIndex is the index of a whole function, which is no VF: no range of VFs contains it.
const WholeIndex = -1

// Whole returns the function as a device that can be handed out as a whole, in place of VFs.
func (pf PF) Whole() VF {
	return VF{
		Address: pf.Address, Index: WholeIndex, Whole: true, Vendor: pf.Vendor, Device: pf.Device, Driver: pf.Driver,
		Netdev: pf.Netdev, AltNames: pf.AltNames, LinkType: pf.LinkType, MAC: pf.MAC, MTU: pf.MTU,
		NUMANode: pf.NUMANode, IOMMUGroup: pf.IOMMUGroup, ACPIIndex: pf.ACPIIndex, RDMADevices: pf.RDMADevices, Nodes: pf.Nodes,
	}
}

// VF is a virtual function, in its current state. It has no Netdev if its netdev is in a pod's
// network namespace, or if it is bound to a userspace driver.
type VF struct {
	Address     pci.Address `json:"address"`
	PF          pci.Address `json:"pf"` // zero inside a virtual machine: no PF is visible there
	Index       int         `json:"index"`
	Vendor      string      `json:"vendor"`
	Device      string      `json:"device"`
	Driver      string      `json:"driver,omitempty"`
	Netdev      string      `json:"netdev,omitempty"`
	AltNames    []string    `json:"altNames,omitempty"`
	LinkType    string      `json:"linkType,omitempty"`
	MAC         string      `json:"mac,omitempty"`
	MTU         int         `json:"mtu,omitempty"`
	NUMANode    int         `json:"numaNode"`
	IOMMUGroup  int         `json:"iommuGroup"`
	ACPIIndex   string      `json:"acpiIndex,omitempty"`
	RDMADevices []string    `json:"rdmaDevices,omitempty"`
	Nodes

	// Whole marks a device that is no VF: a PF without VFs, or a NIC without SR-IOV. It has no PF.
	Whole bool `json:"whole,omitempty"`
}

// Userspace reports whether the VF is bound to a driver that hands it to userspace (vfio-pci, a
// vendor's VFIO variant, uio). It has no netdev then.
func (v VF) Userspace() bool { return UserspaceDriver(v.Driver) }

// VFIO reports whether the VF's driver is vfio-pci or a vendor variant of it.
func (v VF) VFIO() bool { return VFIODriver(v.Driver) }

// IndexRange is a closed range of VF indexes, First..Last.
type IndexRange struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

// Contains reports whether index i is in the range.
func (r IndexRange) Contains(i int) bool { return r.First <= i && i <= r.Last }
