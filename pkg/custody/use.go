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
	Unknown     Kind = "unknown"      // a source cannot be read, so it may be in use
	Host        Kind = "host"         // the node's own network uses its netdev
	Sandbox     Kind = "sandbox"      // a pod's sandbox has it
	Release     Kind = "release"      // a sandbox still has it, since its release has failed
	Allocation  Kind = "allocation"   // the kubelet gave it to a container
	Children    Kind = "children"     // pods have macvlan, ipvlan or VLAN links on its netdev
	VFIO        Kind = "vfio"         // a process without a record has it open through VFIO
	Namespace   Kind = "namespace"    // its kernel driver is bound, but its netdev is not on the host, and nobody on record has it
	Group       Kind = "group"        // another function of its IOMMU group is used
	GroupDriver Kind = "group driver" // another function of its IOMMU group has a kernel driver, so VFIO opens no member
	Change      Kind = "change"       // a profile is changing it
	Governed    Kind = "profile"      // a profile governs the PF (only ToAllocate returns this: it is no use by itself)
	Pool        Kind = "pool"         // it is advertised to the kubelet (only ToCarry returns this: a pool is no use)
)

// Use is one use of one function.
type Use struct {
	Kind     Kind
	Function pci.Address // the function in use; of Group and GroupDriver: the other member
	Netdev   string      // its netdev on the host; empty: no netdev there
	Who      string      // "pod default/x (net1)", "the host"
	How      string      // of Host: "below storage0", "with the address 10.0.0.1/24"
	Driver   string      // of Namespace and GroupDriver: the driver that is bound

	Pod                       ledger.PodRef // of Sandbox, Release, Children; of Allocation if the kubelet reported it
	Sandbox, IfName, Resource string
	Ungranted                 bool            // of Sandbox: the kubelet gave it to the pod, and no longer lists it there
	Named                     bool            // the pod or its network named the function; the kubelet did not give it
	Returns                   *ledger.VFState // the state of the function when its holder has released it; nil: as it is now
	Since                     time.Time       // zero: not known

	Failure     string // of Release: the last error; of Unknown: why the source cannot be read
	Attempts    int    // of Release
	vlanLink    string // of Children: the host's netdev between Netdev and the pod's; empty: none
	EarlierBoot bool   // the sandbox is of an earlier boot: it holds only functions that its plugin's DEL may touch
}
