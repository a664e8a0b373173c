package sandbox

import (
	"context"
	"net"
	"net/netip"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/previous"
)

// Cluster answers from the caches of the API server; pkg/kube implements it.
type Cluster interface {
	// Pod finds a pod. The error is network.ErrNotFound if it is gone or has another UID.
	Pod(ctx context.Context, namespace, name, uid string) (network.Pod, error)
	// NetAttachDef finds a net-attach-def. The error is network.ErrNotFound if it does not exist.
	NetAttachDef(ctx context.Context, namespace, name string) (network.Definition, error)
	// NetAttachDefSize estimates the memory of a net-attach-def's definition, in bytes, without
	// a request.
	NetAttachDefSize(namespace, name string) int
	// SetNetworkStatus writes the network-status annotation.
	SetNetworkStatus(ctx context.Context, pod ledger.PodRef, status string) error
	// Event writes an event about a pod; eventType is Normal or Warning.
	Event(pod ledger.PodRef, eventType, reason, message string)
}

// Devices is the kubelet's account of devices; pkg/kubelet implements it.
type Devices interface {
	// PodDevices returns the ids of a pod's devices by resource, over all containers.
	PodDevices(ctx context.Context, namespace, name string) (map[string][]string, error)
	// InUse returns the ids of all devices that pods of this node have, by resource.
	InUse(ctx context.Context) (map[string][]string, error)
}

// Ledger is the journal; *ledger.Ledger is one.
type Ledger interface {
	PutSandbox(ledger.Sandbox) error
	DeleteSandbox(id string) error
	Sandbox(id string) (ledger.Sandbox, bool, error)
	// Entry returns a record without its attachments, from memory. Entries lists all.
	Entry(id string) (ledger.Entry, bool)
	Entries() []ledger.Entry
	// StatusWritten takes the status off a record, without waiting for the disk.
	StatusWritten(id string, status []byte)
	Holder(device pci.Address) (sandboxID, ifName string, ok bool)
	Allocations() ([]ledger.Allocation, error)
	DeleteAllocations([]ledger.Allocation) error
	Subscribe() (changes <-chan ledger.Change, cancel func())
}

// Chains makes and undoes networks; *attach.Set is one.
type Chains interface {
	Open(ledger.Netns) *attach.Handles
	Prepare(context.Context, attach.Call, network.ConfList) (ledger.Attachment, error)
	Add(context.Context, attach.Call, *ledger.Attachment) (*types100.Result, error)
	Check(context.Context, attach.Call, ledger.Attachment) error
	Del(context.Context, attach.Call, *ledger.Attachment) error
	DeleteLinks(context.Context, []ledger.Attachment, ledger.Netns) error
}

// Links looks after the links of running sandboxes; attach.Mender is one.
type Links interface {
	// Lost reports whether an attachment's link is gone from the pod.
	Lost(attach.Call, ledger.Attachment) (bool, error)
	// Remake makes a lost link again, from the record, in which it sets the new index.
	Remake(context.Context, attach.Call, *ledger.Attachment) error
	// MendAddresses adds IPv6 addresses again that other hosts have, and returns them.
	// unsettled reports that the kernel is still asking the network for some.
	MendAddresses(attach.Call, ledger.Attachment) (duplicates []net.IP, unsettled bool, err error)
}

// Primary is the cluster's own network.
type Primary interface {
	Conf() (network.ConfList, error)
	// ByName reads the conf with a CNI name, for net-attach-defs with an empty spec.
	ByName(name string) (network.ConfList, error)
}

// Previous has the sandboxes that the node's previous meta-plugin has made; previous.Files
// is one.
type Previous interface {
	// Attachments returns the networks of a sandbox; none: it has no files.
	Attachments(id, primary, args string) (previous.Found, error)
	// Left reports whether there are files of any sandbox.
	Left() (bool, error)
	// Forget removes the files of a released sandbox.
	Forget(ledger.Sandbox) error
}

// Kernel has the questions that the keeper itself asks the kernel; tests replace it.
type Kernel struct {
	// Identify returns the identity of the namespace at path, for the record. If it is
	// gone, netns.IsGone says so of the error; the host's own is attach.ErrHostNetns.
	Identify func(path string) (ledger.Netns, error)
	// LastIfindex returns the highest ifindex in the namespace; 0: not known.
	LastIfindex func(path string) int
	// MoveDefaultRoutes makes gateways the default routes, over the interface.
	MoveDefaultRoutes func(path, ifName string, gateways []netip.Addr) error
	// KeepDefaultRoutes puts the default routes over other interfaces behind those over the
	// primary's. secondary are interfaces that programs have made: router advertisements on
	// them do not come first either. It returns the routes that it has moved.
	KeepDefaultRoutes func(path string, primary, secondary []string) ([]MovedRoute, error)
}

// MovedRoute is a default route that has got another metric.
type MovedRoute struct {
	IfName string
	IPv4   bool
	Metric int
}

// RealKernel is the kernel that the agent runs on.
func RealKernel() Kernel {
	return Kernel{Identify: attach.Identify, LastIfindex: lastIfindex, MoveDefaultRoutes: moveDefaultRoutes, KeepDefaultRoutes: keepDefaultRoutes}
}
