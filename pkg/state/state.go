// Package state is one agent's knowledge of its node at one moment, as a value that can be
// printed, sent and compared. It has the NICs with their VFs, who holds which VF and how the VF
// was before, the pools, the sandboxes with their attachments, the profiles, and all problems.
//
// Build joins the agent's own records into a State, Handler serves it and Client asks for it.
// The package reads no sysfs, no netlink and no ledger file: its callers do. pkg/view draws a
// State.
package state

import (
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
)

// State is one node as its agent sees it. Lists are sorted and never nil, so that a reader of
// the JSON finds [] and equal states print the same text.
type State struct {
	Node       string            `json:"node"`
	Build      string            `json:"build,omitempty"` // the agent's version
	Time       time.Time         `json:"time"`
	PFs        []PFReport        `json:"pfs"`
	Lone       []VFReport        `json:"lone"` // VFs without a visible PF, as inside a virtual machine
	NICs       []PFReport        `json:"nics"` // NICs without SR-IOV
	Pools      []PoolReport      `json:"pools"`
	Sandboxes  []SandboxReport   `json:"sandboxes"`
	Profiles   []ProfileReport   `json:"profiles"`
	Failing    []FailingPod      `json:"failing"`            // pods whose networks cannot be made
	Counters   Counters          `json:"counters"`           // since the agent's start
	Tombstones int               `json:"tombstones"`         // DELs missed during downtime that have not been replayed yet
	Repaired   int               `json:"repaired,omitempty"` // VFs that were repaired since the agent started
	Problems   []problem.Problem `json:"problems"`           // for an operator to look at; empty: all is well
}

// PFReport is a physical function with Fairlead's knowledge of its VFs.
type PFReport struct {
	device.PF
	VFs []VFReport `json:"vfs"` // in order of index; replaces device.PF's list
	// Whole is the function as one device, if it is in a pool or was handed out: a PF without VFs,
	// or a NIC without SR-IOV.
	Whole *VFReport `json:"whole,omitempty"`
}

// VFReport is a virtual function with its pool and its holder.
type VFReport struct {
	device.VF
	Pool      string `json:"pool,omitempty"` // the extended resource; empty: not advertised
	Allocated bool   `json:"allocated"`      // the kubelet handed it out, or a sandbox holds it
	Healthy   bool   `json:"healthy"`        // only meaningful in a pool
	// Reason says why a VF in a pool is unhealthy and not handed out.
	Reason string `json:"reason,omitempty"`
	// AllocatedTo is the pod that the kubelet names, if it does.
	AllocatedTo *ledger.PodRef `json:"allocatedTo,omitempty"`
	// Holder is the attachment that has the VF. It is nil with Allocated set if the kubelet
	// handed the VF out and no network has asked for it (yet).
	Holder *Holder `json:"holder,omitempty"`
	// Original is the VF's state before its holder got it, which will be restored;
	// OriginalNetdev was its netdev's name.
	Original       *device.Settings `json:"original,omitempty"`
	OriginalNetdev string           `json:"originalNetdev,omitempty"`
	// Applied are the settings that the holder's network requested. Fields without a value were
	// not requested.
	Applied *device.Settings `json:"applied,omitempty"`
	// Current is the VF's current state, as far as the host sees it.
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

// PoolReport is an extended resource on this node, in numbers.
type PoolReport struct {
	Resource  string      `json:"resource"`
	Type      device.Type `json:"type,omitempty"`
	Source    string      `json:"source,omitempty"` // where it is declared
	Idle      bool        `json:"idle,omitempty"`   // held back from the kubelet
	Capacity  int         `json:"capacity"`
	Healthy   int         `json:"healthy"`
	Allocated int         `json:"allocated"`
	Free      int         `json:"free"` // healthy and not handed out
}

// SandboxReport is one pod sandbox with all its attachments, the primary first.
type SandboxReport struct {
	ID          string             `json:"id"`
	Pod         ledger.PodRef      `json:"pod"`
	Created     time.Time          `json:"created"`
	Releasing   bool               `json:"releasing,omitempty"`
	Failure     string             `json:"failure,omitempty"` // the error of the last release attempt
	Attempts    int                `json:"attempts,omitempty"`
	RetryAt     time.Time          `json:"retryAt,omitzero"`
	Attachments []AttachmentReport `json:"attachments"`
}

// AttachmentReport is one network in one sandbox.
type AttachmentReport struct {
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
	FallbackFrom   string       `json:"fallbackFrom,omitempty"` // the kind that was requested
	FallbackReason string       `json:"fallbackReason,omitempty"`
}

// FailingPod is a pod whose networks could not be made, with the cause of the last try.
type FailingPod struct {
	Pod     ledger.PodRef `json:"pod"`
	Network string        `json:"network,omitempty"` // empty: the step is not of one network
	IfName  string        `json:"ifName,omitempty"`
	Step    string        `json:"step,omitempty"`
	Cause   string        `json:"cause"`
	Count   int           `json:"count"`
	First   time.Time     `json:"first"`
	Last    time.Time     `json:"last"`
}

// Counters count events.
type Counters struct {
	Adds       int64                  `json:"adds"`       // sandboxes whose networks were made
	FailedAdds int64                  `json:"failedAdds"` // tries that failed
	Problems   map[problem.Reason]int `json:"problems,omitempty"`
}

// ProfileReport is the progress of one NIC profile on this node.
type ProfileReport struct {
	Name    string `json:"name"`
	Source  string `json:"source,omitempty"` // the file or object that declares it
	Ready   bool   `json:"ready"`
	Message string `json:"message,omitempty"` // why it is not ready, or its last changes
}
