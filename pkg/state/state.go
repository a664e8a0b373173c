// Package state is what one agent knows about its node at one moment, as a
// value that can be printed, sent and compared: the NICs with their VFs, who
// holds which VF and how the VF was before, the pools, the sandboxes with their
// attachments, the profiles, and what is wrong.
//
// Build joins the agent's own records into a State; Handler serves it and Client
// asks for it. The package reads no sysfs, no netlink and no ledger file: it is
// given what was read. pkg/view draws a State.
package state

import (
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// State is one node as its agent sees it. Lists are sorted and never nil, so that
// a reader of the JSON finds [] and two equal states print the same text.
type State struct {
	Node       string    `json:"node"`
	Build      string    `json:"build,omitempty"` // of the agent
	Time       time.Time `json:"time"`
	PFs        []PF      `json:"pfs"`
	Lone       []VF      `json:"lone"` // VFs whose PF is not visible, as inside a virtual machine
	Pools      []Pool    `json:"pools"`
	Sandboxes  []Sandbox `json:"sandboxes"`
	Profiles   []Profile `json:"profiles"`
	Tombstones int       `json:"tombstones"` // DELs that came while the agent was away, not yet replayed
	Problems   []string  `json:"problems"`   // what an operator must look at; empty: all is well
}

// PF is a physical function with what Fairlead knows about its VFs.
type PF struct {
	device.PF
	VFs []VF `json:"vfs"` // in the order of their index; stands in for device.PF's list
}

// VF is a virtual function, the pool that it is in, and who holds it.
type VF struct {
	device.VF
	Pool      string `json:"pool,omitempty"` // the extended resource; empty: not advertised
	Allocated bool   `json:"allocated"`      // the kubelet handed it out, or a sandbox holds it
	Healthy   bool   `json:"healthy"`        // meaningful in a pool only
	// Reason is why a VF in a pool is not healthy, and not handed out.
	Reason string `json:"reason,omitempty"`
	// Holder is the attachment that has the VF. Nil with Allocated set: the kubelet
	// handed it out, and no network has asked for it (yet).
	Holder *Holder `json:"holder,omitempty"`
	// Original is how the VF was before its holder got it, and will be again;
	// OriginalNetdev is what its netdev was called.
	Original       *device.Settings `json:"original,omitempty"`
	OriginalNetdev string           `json:"originalNetdev,omitempty"`
	// Applied is what the holder's network asked for; fields without a value were not
	// asked for.
	Applied *device.Settings `json:"applied,omitempty"`
	// Current is how the VF is now, as far as the host sees it.
	Current *device.Settings `json:"current,omitempty"`
}

// Holder names the attachment that holds a VF.
type Holder struct {
	Sandbox string        `json:"sandbox"`
	Pod     ledger.PodRef `json:"pod"`
	IfName  string        `json:"ifName"`
	Network string        `json:"network"`
	Phase   ledger.Phase  `json:"phase"`
	Since   time.Time     `json:"since"`
}

// Pool is an extended resource on this node, in numbers.
type Pool struct {
	Resource  string      `json:"resource"`
	Type      device.Type `json:"type,omitempty"`
	Source    string      `json:"source,omitempty"` // where it was declared
	Idle      bool        `json:"idle,omitempty"`   // held back from the kubelet
	Capacity  int         `json:"capacity"`
	Healthy   int         `json:"healthy"`
	Allocated int         `json:"allocated"`
	Free      int         `json:"free"` // healthy, and handed out to nobody
}

// Sandbox is one pod sandbox with all its attachments, the primary first.
type Sandbox struct {
	ID          string        `json:"id"`
	Pod         ledger.PodRef `json:"pod"`
	Created     time.Time     `json:"created"`
	Releasing   bool          `json:"releasing,omitempty"`
	Failure     string        `json:"failure,omitempty"` // of the last try to release it
	Attempts    int           `json:"attempts,omitempty"`
	RetryAt     time.Time     `json:"retryAt,omitzero"`
	Attachments []Attachment  `json:"attachments"`
}

// Attachment is one network in one sandbox.
type Attachment struct {
	Network        string       `json:"network"`
	IfName         string       `json:"ifName"`
	Kind           string       `json:"kind"` // of the first plugin: sriov, vfio, macvlan, ipvlan, …; exec for a binary
	Phase          ledger.Phase `json:"phase"`
	IPs            []string     `json:"ips,omitempty"` // with prefix length
	MAC            string       `json:"mac,omitempty"`
	MTU            int          `json:"mtu,omitempty"`
	VLAN           int          `json:"vlan,omitempty"`
	Uplink         string       `json:"uplink,omitempty"` // the host netdev below a macvlan or ipvlan
	Resource       string       `json:"resource,omitempty"`
	Device         pci.Address  `json:"device,omitzero"`
	FallbackFrom   string       `json:"fallbackFrom,omitempty"` // the kind that was asked for
	FallbackReason string       `json:"fallbackReason,omitempty"`
}

// Profile is how far one NIC profile has come on this node.
type Profile struct {
	Name    string `json:"name"`
	Source  string `json:"source,omitempty"` // the file or object that declares it
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"` // why it is not ready, or what it did
}
