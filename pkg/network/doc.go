// Package network turns a pod's requests into the list of attachments to make. It parses the
// networks annotations and net-attach-defs, gives each selection its interface name and its
// device, and resolves the plugins' configurations. It also builds the network-status document.
//
// It is pure: it reads no file, asks no API server and runs no plugin. Package sandbox does
// that, with the plan that Resolve returns.
package network

import "errors"

// The annotations that users write, and the one that is written for them.
const (
	NetworksAnnotation       = "k8s.v1.cni.cncf.io/networks"
	StatusAnnotation         = "k8s.v1.cni.cncf.io/network-status"
	DefaultNetworkAnnotation = "v1.multus-cni.io/default-network"
	ResourceAnnotation       = "k8s.v1.cni.cncf.io/resourceName"
)

// OwnType is the plugin type of Fairlead's own shim. A network that names it would call itself
// without end, so it is rejected wherever a config is read.
const OwnType = "fairlead"

// ErrNotFound means that an object (pod, net-attach-def) does not exist, as opposed to being
// unreachable. Lookups wrap it.
var ErrNotFound = errors.New("not found")

// Pod has the facts about a pod that attaching its networks needs.
type Pod struct {
	Namespace   string
	Name        string
	UID         string
	Annotations map[string]string
	Terminal    bool // succeeded, failed, or deleted and past its grace period
}
