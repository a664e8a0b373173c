package custody

import (
	"time"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// Kind is how a function is used.
type Kind string

// The kinds of use, in the order in which Uses lists them.
const (
	Unknown     Kind = "unknown"      // a source cannot be read, so nobody can say that it is free
	Host        Kind = "host"         // the node's own network uses its netdev
	Sandbox     Kind = "sandbox"      // a pod's sandbox has it
	Release     Kind = "release"      // a sandbox still has it, since its release has failed
	Allocation  Kind = "allocation"   // the kubelet gave it to a container
	Children    Kind = "children"     // pods have macvlan, ipvlan or VLAN links on its netdev
	VFIO        Kind = "vfio"         // a process without a record has it open through VFIO
	Namespace   Kind = "namespace"    // its kernel driver is bound, its netdev is not here, and nobody is on record
	Group       Kind = "group"        // another function of its IOMMU group is used
	GroupDriver Kind = "group driver" // another function of its IOMMU group has a kernel driver, so VFIO opens none of them
	Change      Kind = "change"       // a profile is changing it
	Pool        Kind = "pool"         // it is advertised to the kubelet (ToCarry only: a pool is no use)
)

// Use is one use of one function.
type Use struct {
	Kind     Kind
	Function pci.Address // the function that is used; with Group and GroupDriver it is the other member
	Netdev   string      // its netdev on the host; empty: none there
	Who      string      // "pod default/x (net1)", "the host"
	How      string      // of Host: "below storage0", "with the address 10.0.0.1/24"
	Driver   string      // of Namespace and GroupDriver: the one that is bound

	Pod                       ledger.PodRef // of Sandbox, Release, Children, and of Allocation if the kubelet said so
	Sandbox, IfName, Resource string
	Named                     bool            // the pod or its network named the function, the kubelet did not give it
	Returns                   *ledger.VFState // how the function will be when its holder releases it; nil: as it is now
	Since                     time.Time       // zero: not known

	Failure     string // of Release: the last error; of Unknown: why the source cannot be read
	Attempts    int    // of Release
	vlanLink    string // of Children: the host's netdev between Netdev and the pod's; empty: none
	EarlierBoot bool   // the sandbox is of an earlier boot: it holds no more than what its plugin's DEL may touch
}
