// Package v1alpha1 holds the types of the API group fairlead.dev/v1alpha1 as users write them.
// It has only types: pkg/config turns them into the validated model that the rest of Fairlead
// works with.
package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NICProfile declares how the NICs that it selects are configured, and in which
// pools their VFs are. It is cluster-scoped; the same YAML is read from files.
type NICProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NICProfileSpec `json:"spec"`
}

// NICProfileSpec is the desired state.
type NICProfileSpec struct {
	// NodeSelector limits the profile to nodes with these labels. Empty: every node.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Priority decides between profiles that select the same PF: the higher one wins. Equal
	// priorities are an error.
	Priority int32 `json:"priority,omitempty"`
	// NICs selects the PFs. All fields must match; the values of one field are alternatives.
	NICs NICSelector `json:"nics"`
	// PF is the desired state of each PF.
	PF PFSpec `json:"pf"`
	// VFGroups split the VFs of each PF by index. A VF in no group keeps its driver and is in no pool.
	VFGroups []VFGroup `json:"vfGroups,omitempty"`
}

// NICSelector selects PFs. All fields that are set must match; the values of one field are
// alternatives.
type NICSelector struct {
	Vendors      []string `json:"vendors,omitempty"` // "8086"
	Devices      []string `json:"devices,omitempty"` // PF device ids, "10c9"
	Drivers      []string `json:"drivers,omitempty"`
	PFNames      []string `json:"pfNames,omitempty"`      // names or altnames, globs: "ens1f*"
	PCIAddresses []string `json:"pciAddresses,omitempty"` // globs: "0000:3b:*"
	LinkTypes    []string `json:"linkTypes,omitempty"`    // ether, infiniband
	NUMANodes    []int    `json:"numaNodes,omitempty"`
}

// PFSpec is the desired state of a physical function.
type PFSpec struct {
	// NumVFs is how many VFs the PF has; 0: no VFs. Unset: not changed, the present VFs are
	// used.
	NumVFs *int `json:"numVFs,omitempty"`
	// MTU in bytes; unset: not changed. The VFs' MTU cannot be above it.
	MTU int `json:"mtu,omitempty"`
}

// VFGroup is the desired state of a range of VFs, and the resource they are advertised as.
type VFGroup struct {
	// VFs are the indexes, "0-3" or "0-1,4". Empty: all VFs of the PF.
	VFs string `json:"vfs,omitempty"`
	// ResourceName is "name" (with the default prefix fairlead.dev) or "prefix/name". Empty: not advertised.
	ResourceName string `json:"resourceName,omitempty"`
	// Driver is "" or "kernel" for the kernel's own driver, else a driver's name, such as vfio-pci.
	Driver string `json:"driver,omitempty"`
	// AllowUnsafeDMA accepts drivers with which a pod can read and write all memory of the node:
	// uio_pci_generic, igb_uio, and vfio-pci without an IOMMU.
	AllowUnsafeDMA bool `json:"allowUnsafeDMA,omitempty"`
	// MTU in bytes of the VF's netdev; unset: not changed.
	MTU int `json:"mtu,omitempty"`
	// VLAN 1–4094 of the VFs outside of pods; in a pod, a network's own VLAN replaces it. 0
	// removes a VLAN; unset: not changed.
	VLAN       *int   `json:"vlan,omitempty"`
	VLANQoS    *int   `json:"vlanQoS,omitempty"`    // 0–7; needs a VLAN
	VLANProto  string `json:"vlanProto,omitempty"`  // "802.1q", "802.1ad"; unset: 802.1q
	Trust      string `json:"trust,omitempty"`      // "on", "off"; unset: not changed
	SpoofCheck string `json:"spoofCheck,omitempty"` // "on", "off"; unset: not changed
	LinkState  string `json:"linkState,omitempty"`  // "auto" (as the PF's), "enable", "disable"; unset: not changed
	// MinTxRateMbps is guaranteed to the VF. 0: no guarantee; unset: not changed.
	MinTxRateMbps *int `json:"minTxRateMbps,omitempty"`
	// MaxTxRateMbps limits the VF. 0: no limit; unset: not changed.
	MaxTxRateMbps *int `json:"maxTxRateMbps,omitempty"`
	// ExcludeTopology advertises no NUMA node.
	ExcludeTopology bool `json:"excludeTopology,omitempty"`
	NeedVhostNet    bool `json:"needVhostNet,omitempty"`
	RDMA            bool `json:"rdma,omitempty"`
	// ResetOnRelease is "restore" (the default) or "rebind". A VF that a pod releases gets every
	// setting back; rebind also unbinds its driver and binds it again, which leaves nothing of the
	// pod. With restore, the driver is rebound only if something still differs.
	ResetOnRelease string `json:"resetOnRelease,omitempty"`
	// Idle holds the VFs back from the kubelet.
	Idle bool `json:"idle,omitempty"`
	// Allow limits which pods may have the VFs, and what networks may set of them.
	Allow *VFAllow `json:"allow,omitempty"`
}
