package device

import "fairlead.dev/fairlead/pkg/pci"

// Type says what kind of device a pool holds, in the words of the device
// plugin's configuration.
type Type string

// The types of COMPAT.md §6.
const (
	NetDevice   Type = "netDevice"
	Accelerator Type = "accelerator"
	AuxNet      Type = "auxNetDevice"
)

// Pool is one extended resource and the rule that says which VFs are in it.
// If several pools select a VF, the first in order has it.
type Pool struct {
	Resource        string // "fairlead.dev/fast": prefix and name, as the kubelet knows it
	Type            Type
	Selectors       []Selector // any of them matches
	ExcludeTopology bool       // advertise no NUMA node
	NeedVhostNet    bool       // hand out /dev/vhost-net and /dev/net/tun as well
	RDMA            bool       // a selector asks for RDMA; each does so for its own VFs
	Idle            bool       // VFs that are held back from the kubelet
	// AdditionalInfo is copied into the pod's PCIDEVICE_…_INFO: by PCI address,
	// or "*" for every device of the pool.
	AdditionalInfo map[string]map[string]string
	Source         string // where it was declared, for messages: `profile "fast", group 1`
}

// Selector selects VFs. Fields that are set must all hold; the values of one
// field are alternatives. The zero value selects nothing.
type Selector struct {
	Vendors      []string  // "8086"
	Devices      []string  // the VF's device id, "10ca"
	Drivers      []string  // the VF's driver
	PCIAddresses Addresses // of the VF
	ACPIIndexes  []string
	PFNames      []PFRange   // PF netdev or altname, with VF indexes
	RootDevices  []RootRange // PF address, with VF indexes
	LinkTypes    []string
	DDPProfiles  []string
	PKeys        []string
	VDPAType     string
	AuxTypes     []string
	RDMA         bool // only VFs with an RDMA device, whose character devices are handed out

	// Driver must be bound to a VF before it is handed out. KernelDriver stands for any
	// that makes a netdev, an empty Driver for any. It selects nothing: a VF on its way
	// to another driver stays in its pool.
	Driver string

	// NIC and VFs are how a profile's VF group selects: its PFs, and a range on each.
	NIC *NICSelector
	VFs []IndexRange // empty: all
	// NotNICs are PFs that a profile of a higher priority has for itself.
	NotNICs []NICSelector
}

// PFRange names a PF by its netdev or altname, and VF indexes on it:
// `ens1f0#0-3,5`. No indexes means all.
type PFRange struct {
	Name string
	VFs  []IndexRange
}

// RootRange names a PF by its address, and VF indexes on it: `0000:3b:00.0#0-3`.
type RootRange struct {
	PF  pci.Address
	VFs []IndexRange
}

// Addresses is a set of PCI addresses.
type Addresses map[pci.Address]bool

// NICSelector selects PFs for a profile. Fields that are set must all hold; the
// values of one field are alternatives. The zero value selects every PF.
type NICSelector struct {
	Vendors      []string
	Devices      []string // the PF's device id
	Drivers      []string
	PFNames      []string // netdev names and altnames; shell globs
	PCIAddresses []string // of the PF, in full; shell globs
	LinkTypes    []string
	NUMANodes    []int
}
