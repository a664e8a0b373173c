package ledger

import (
	"encoding/json"
	"time"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/pci"
)

// PodRef says which pod a sandbox belongs to.
type PodRef struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
}

// String is namespace/name, as users write it.
func (p PodRef) String() string { return p.Namespace + "/" + p.Name }

// Sandbox is the record of one pod sandbox: everything that was, or was about
// to be, attached to it. It is written before the first mutation, and removed
// only when every attachment in it has been released.
type Sandbox struct {
	ID          string       `json:"id"`     // the runtime's container id
	IfName      string       `json:"ifName"` // of the primary network, usually eth0
	Pod         PodRef       `json:"pod"`
	Netns       string       `json:"netns"`          // path as the runtime gave it
	Path        string       `json:"path,omitempty"` // CNI_PATH, where the plugins were that made it
	Created     time.Time    `json:"created"`
	Attachments []Attachment `json:"attachments"` // in attach order; the primary is first
	// Releasing is set, durably, when DEL (or a failed ADD's undo) has begun: a
	// sandbox in this state is never used again, only released further.
	Releasing bool `json:"releasing,omitempty"`
	// EarlierBoot says that the node has been rebooted since (see Ledger.Boot): the
	// sandbox runs no more, and the VFs that it names are new ones, which it has not.
	EarlierBoot bool `json:"earlierBoot,omitempty"`
	// Failure is the last error of a release that will be retried; Attempts counts.
	Failure  string    `json:"failure,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	RetryAt  time.Time `json:"retryAt,omitzero"`
	// Status is the network-status document that is not yet on the pod.
	Status json.RawMessage `json:"status,omitempty"`
}

// Phase is how far an attachment has come.
type Phase string

// An attachment goes Intent → Bound → Released, or Intent → Released.
const (
	Intent   Phase = "intent"   // may have been changed in part: release undoes from the record
	Bound    Phase = "bound"    // complete, Result is valid
	Released Phase = "released" // every undo has succeeded
)

// Attachment is one network in one sandbox. Its fields are enough to release it
// with no API server, no netns, and no config but this record.
type Attachment struct {
	Network string `json:"network"` // namespace/name of the net-attach-def; the conf's name for the primary
	IfName  string `json:"ifName"`
	Kind    string `json:"kind"` // what made it: sriov, vfio, macvlan, ipvlan, exec
	Phase   Phase  `json:"phase"`
	// FallbackFrom is set where Kind is a declared fallback: the kind that was asked for, and why it was not to be had.
	FallbackFrom   string `json:"fallbackFrom,omitempty"`
	FallbackReason string `json:"fallbackReason,omitempty"`
	// Config is the CNI config list with everything resolved (device, runtimeConfig,
	// args): what ADD ran with, and what DEL and CHECK run with.
	Config json.RawMessage `json:"config"`
	// CNIArgs is the CNI_ARGS value for this attachment.
	CNIArgs string `json:"cniArgs,omitempty"`
	// CapabilityArgs is the runtimeConfig that was offered, by capability.
	CapabilityArgs map[string]any  `json:"capabilityArgs,omitempty"`
	Resource       string          `json:"resource,omitempty"`   // extended resource that backs it
	Device         pci.Address     `json:"device,omitzero"`      // the VF it holds, if any
	DeviceBack     bool            `json:"deviceBack,omitempty"` // the VF is restored and free again; what is left to undo is something else
	DeviceInfo     string          `json:"deviceInfo,omitempty"` // path of the CNI device-info file
	Link           *LinkState      `json:"link,omitempty"`       // a link made for the pod, or shared by pods on the host
	VF             *VFState        `json:"vf,omitempty"`         // how the VF was before ADD
	Applied        *VFState        `json:"applied,omitempty"`    // how it was asked to be; nil fields were not asked for
	IPAM           string          `json:"ipam,omitempty"`       // type of the IPAM that holds addresses for it
	Result         json.RawMessage `json:"result,omitempty"`     // CNI result of the list, cniVersion 1.0.0
}

// LinkState names links that an attachment made, so that release deletes just those.
type LinkState struct {
	Uplink string `json:"uplink,omitempty"` // host netdev below the pod's link
	// VLANLink is a host VLAN netdev that was made for pods of this network; the last of its users removes it.
	VLANLink string `json:"vlanLink,omitempty"`
	VLAN     int    `json:"vlan,omitempty"`
	MAC      string `json:"mac,omitempty"`
	Ifindex  int    `json:"ifindex,omitempty"` // in the pod's netns
	MTU      int    `json:"mtu,omitempty"`
}

// VFState is the state of a VF: its settings and its netdev. In Attachment.VF it is
// the original. A nil field means that the driver does not report it, or that it is
// not touched.
type VFState struct {
	PF     pci.Address `json:"pf,omitzero"`
	PFName string      `json:"pfName,omitempty"`
	Index  int         `json:"index"`
	device.Settings
	Netdev   string   `json:"netdev,omitempty"`
	AltNames []string `json:"altNames,omitzero"` // of the netdev; nil: not known
	Up       *bool    `json:"up,omitempty"`      // the netdev's admin state
	Promisc  *bool    `json:"promisc,omitempty"`
	AllMulti *bool    `json:"allMulti,omitempty"`
}

// Allocation is a device that the kubelet has been handed for some container.
type Allocation struct {
	Resource string      `json:"resource"`
	Device   pci.Address `json:"device"`
	At       time.Time   `json:"at"`
}
