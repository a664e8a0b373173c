// Package network turns a pod's annotations into the list of attachments to
// make: it parses the networks annotations and net-attach-defs, gives each
// selection its interface name and its device, and resolves the plugins'
// configurations. It also builds the network-status document.
//
// It reads no file, asks no API server and runs no plugin. Everything that a tenant
// writes is bounded (limits.go) and means the same to every reader (inspect.go) before
// it is used.
package network

import (
	"errors"

	"fairlead.dev/fairlead/cni/wire"
)

// The annotations that users write, and the one that is written for them.
const (
	NetworksAnnotation       = "k8s.v1.cni.cncf.io/networks"
	StatusAnnotation         = "k8s.v1.cni.cncf.io/network-status"
	DefaultNetworkAnnotation = "v1.multus-cni.io/default-network"
	ResourceAnnotation       = "k8s.v1.cni.cncf.io/resourceName"
)

// OwnType is the plugin type of Fairlead's own shim. A network that names it would run
// itself without end, so every config that names it is refused. wire.IsMeta has the other
// types of that kind.
const OwnType = wire.OwnType

// ErrNotFound is wrapped by whoever looks up objects (pods, net-attach-defs) if the
// object does not exist, as opposed to being out of reach.
var ErrNotFound = errors.New("not found")

// Pod has the facts of a pod that decide about its networks.
type Pod struct {
	Namespace   string
	Name        string
	UID         string
	Annotations map[string]string
	Terminal    bool // succeeded, failed, or deleted and past its grace period
	Requests    []Request
}

// Request is the number of an extended resource's devices that a container asks for.
type Request struct {
	Resource, Container string
	// Init is set for a container that ends before the pod's others start. The kubelet does
	// not list its devices.
	Init bool
}

// ErrRefused is wrapped by whoever writes objects if the API server refuses, and would
// refuse the same request again.
var ErrRefused = errors.New("refused")
