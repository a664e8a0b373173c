// Package custody answers who uses a PCI function or a netdev of the host: a pod's
// sandbox, a container that the kubelet gave it to, the node's own network, a process
// through VFIO, a foreign network namespace, links of pods on top, another member of
// its IOMMU group, a release that failed, a profile that is changing it.
//
// It changes nothing and decides nothing: whoever wants to allocate, attach, change or
// build on a function asks the question that fits (View.ToAllocate, ToAttach, ToChange,
// ToCarry) and says the Reason of the answer.
package custody
