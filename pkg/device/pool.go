package device

import "fairlead.dev/fairlead/pkg/pci"

// Type is the kind of device in a pool, as the device plugin's configuration calls it.
type Type string

// The device plugin's types.
const (
	NetDevice   Type = "netDevice"
	Accelerator Type = "accelerator"
	AuxNet      Type = "auxNetDevice"
)

// Pool is one extended resource with the rule for its VFs. If several pools select a VF, the
// first in order has it.
type Pool struct {
	Resource        string // "fairlead.dev/fast": prefix and name, as the kubelet uses it
	Type            Type
	Selectors       []Selector // alternatives: one match is enough
	ExcludeTopology bool       // advertise no NUMA node
	NeedVhostNet    bool       // hand out /dev/vhost-net and /dev/net/tun too
	RDMA            bool       // a selector asks for RDMA, each for the VFs that it selects
	Idle            bool       // the VFs are held back from the kubelet
	// AdditionalInfo is copied into the pod's PCIDEVICE_…_INFO: by PCI address,
	// or "*" for every device of the pool.
	AdditionalInfo map[string]map[string]string
	Source         string // where it is declared, for messages: `profile "fast", group 1`
}

// Selector selects VFs. All fields that are set must match; the values of one field are
// alternatives. The zero value selects nothing.
type Selector struct {
	Vendors      []string  // "8086"
	Devices      []string  // the VF's device id, "10ca"
	Drivers      []string  // the VF's driver
	PCIAddresses Addresses // the VF's
	ACPIIndexes  []string
	PFNames      []PFRange   // PF netdev or altname, with VF indexes
	RootDevices  []RootRange // PF address, with VF indexes
	LinkTypes    []string
	DDPProfiles  []string
	PKeys        []string
	VDPAType     string
	AuxTypes     []string
	RDMA         bool // only VFs with an RDMA device, whose character devices are handed out

	// Driver must be bound to a VF before it is handed out. KernelDriver stands for any driver
	// that creates a netdev, an empty Driver for any driver. It selects nothing: a VF that is
	// being bound to another driver stays in its pool.
	Driver string

	// UnsafeDMA accepts, for a profile's VFs, VFIO without an IOMMU: a pod can then read and write
	// all memory of the node.
	UnsafeDMA bool

	// NIC and VFs are the selection of a profile's VF group: its PFs, and a range of VFs on
	// each.
	NIC *NICSelector
	VFs []IndexRange // empty: all
	// NotNICs are PFs that belong to a profile of a higher priority.
	NotNICs []NICSelector
}

// PFRange is a PF by its netdev or altname, with VF indexes: `ens1f0#0-3,5`. No indexes means
// all.
type PFRange struct {
	Name string
	VFs  []IndexRange
}

// RootRange is a PF by its address, with VF indexes: `0000:3b:00.0#0-3`.
type RootRange struct {
	PF  pci.Address
	VFs []IndexRange
}

// Addresses is a set of PCI addresses.
type Addresses map[pci.Address]bool

// NICSelector selects PFs for a profile. All fields that are set must match; the values of one
// field are alternatives. The zero value selects every PF.
type NICSelector struct {
	Vendors      []string
	Devices      []string // the PF's device id
	Drivers      []string
	PFNames      []string // netdev names and altnames; shell globs
	PCIAddresses []string // the PF's, in full; shell globs
	LinkTypes    []string
	NUMANodes    []int
}
