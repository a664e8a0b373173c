// Package cni is the agent's side of the CNI socket: it serves the calls that the
// shim hands over, one file per verb, and releases what no call releases
// (tombstones, retries, sandboxes that are gone).
//
// It decides which networks a sandbox gets and in which order they are made and
// undone, and keeps the ledger. It configures no link itself: the built-in
// networks are pkg/attach's, every other is a plugin's binary, which runs on the
// host (through the shim, or through HostExec where there is none).
package cni

import (
	"context"
	"encoding/json"

	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// Cluster is what is asked of the API server, through caches.
type Cluster interface {
	// Pod finds a pod; network.ErrNotFound where it is gone or has another UID.
	Pod(ctx context.Context, namespace, name, uid string) (network.Pod, error)
	// NetAttachDef finds a net-attach-def; network.ErrNotFound where there is none.
	NetAttachDef(ctx context.Context, namespace, name string) (network.Definition, error)
	// SetNetworkStatus writes the network-status annotation.
	SetNetworkStatus(ctx context.Context, pod ledger.PodRef, status string) error
	// Event tells about a pod; eventType is Normal or Warning.
	Event(pod ledger.PodRef, eventType, reason, message string)
	// Ready says what is not: caches that are not filled, an API server out of reach.
	Ready() error
}

// Devices is the kubelet's account of devices.
type Devices interface {
	// PodDevices gives the ids of a pod's devices by resource, over all containers.
	PodDevices(ctx context.Context, namespace, name string) (map[string][]string, error)
	// InUse gives the ids of all devices that pods of this node have, by resource.
	InUse(ctx context.Context) (map[string][]string, error)
}

// Ledger is the journal; *ledger.Ledger is one.
type Ledger interface {
	PutSandbox(ledger.Sandbox) error
	UpdateSandbox(id string, change func(*ledger.Sandbox) error) error
	DeleteSandbox(id string) error
	Sandbox(id string) (ledger.Sandbox, bool, error)
	Sandboxes() ([]ledger.Sandbox, error)
	Holder(device pci.Address) (sandboxID, ifName string, ok bool)
	Allocations() ([]ledger.Allocation, error)
	DeleteAllocations([]ledger.Allocation) error
}

// Attachers finds the attacher of a built-in network by plugin type or by the
// kind in an attachment's record.
type Attachers interface {
	For(kind string) (Attacher, bool)
}

// Attacher makes one network in one sandbox, in two steps: what Prepare returns is
// made durable before Bind. An error of Release with a method DeviceBack() bool that
// says true means that the device is as it was, and free, and only something else is
// left to undo; a record with DeviceBack set asks for that alone.
type Attacher interface {
	Prepare(ctx context.Context, r AttachRequest) (ledger.Attachment, error)
	Bind(ctx context.Context, env AttachEnv, a *ledger.Attachment, netns string) (*types100.Result, error)
	Release(ctx context.Context, env AttachEnv, a ledger.Attachment, netns string) error
	Check(ctx context.Context, env AttachEnv, a ledger.Attachment, netns string) error
}

// AttachRequest is one network to attach.
type AttachRequest struct {
	SandboxID, Netns, IfName string
	Pod                      ledger.PodRef
	Network                  string
	Config                   json.RawMessage // one plugin's config, resolved
	CNIArgs                  string
	Resource                 string
	Device                   pci.Address
	Uplinks                  []string // host netdevs that a fallback may use, best first
}

// AttachEnv is how plugin binaries (an IPAM that is not built in) are run, and for
// Bind the interface's place in the order of the pod's: see order.
type AttachEnv struct {
	SandboxID string
	Exec      invoke.Exec
	Path      string // CNI_PATH

	Ifindex int                         // wished for; 0: the kernel's choice
	Turn    func(context.Context) error // waits until the interfaces before it are there
	Made    func()                      // the interface is there
	Last    func(context.Context) error // waits until those before it are complete
}

// kindExec is the kind of an attachment that a plugin's binary makes.
const kindExec = "exec"
