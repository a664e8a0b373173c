// Package admission tests the agent's admission policy on an API server of its own, on
// the host's loopback: etcd and kube-apiserver of the lab's cache, without nodes.
package admission
