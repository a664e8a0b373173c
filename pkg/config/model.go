package config

import "fairlead.dev/fairlead/pkg/device"

// Model is the validated desired state of this node. Logic works on it and never sees raw YAML
// or JSON.
type Model struct {
	Profiles []Profile     // profiles for this node, highest priority first, then by name
	Pools    []device.Pool // in match order: the ConfigMap's resourceList first, then the profiles' pools
}

// Profile is one NICProfile that applies to this node.
type Profile struct {
	Name     string
	Priority int
	NICs     device.NICSelector
	NumVFs   *int // nil: not changed, the present VFs are used
	MTU      int  // bytes; 0: not changed
	Groups   []VFGroup
	Source   string // the file or object that declares it, for messages
}

// VFGroup is the desired state of a range of VFs.
type VFGroup struct {
	VFs      []device.IndexRange // empty: all
	Resource string              // with prefix; empty: not advertised
	Settings device.Settings     // a setting without a value is not touched; Driver always has one
	// AllowUnsafeDMA accepts drivers with which a pod can read and write all memory of the node.
	AllowUnsafeDMA bool
	Rebind         bool     // the driver is rebound when a pod has released the VF
	Allow          *VFAllow // nil: every pod, every setting
}
