// Package custody answers who uses a PCI function or a netdev of the host: a pod's
// sandbox, a container that the kubelet gave it to, the node's own network, a process
// through VFIO, a foreign network namespace, pods' links on top of it, another member of
// its IOMMU group, a release that failed, a profile that is changing it.
//
// Whoever wants to allocate, attach, change or build on a function asks the question
// that fits: View.ToAllocate, ToAttach, ToChange, ToCarry. The answer is a Use, whose
// Reason is a sentence for the administrator, and TenantReason one for a pod's author.
//
//	use.go, reason.go   a use, in words
//	view.go, index.go   who uses what at one moment; it never changes
//	uses.go, ask.go     the questions
//	sources.go          where an Oracle looks
//	oracle.go           the Oracle, which keeps the latest View
//	record.go, records.go        … from the ledger
//	sightings.go, vfio.go        … from the functions: netdevs, VFIO, IOMMU groups
//	host.go, links.go            … from the host's network
//	grants.go                    … from the kubelet
//	confirm.go, guard.go         reading before a write, and one write at a time
//
// It changes nothing on the node and decides nothing. Only changes that announce
// themselves are in a View at once: VFIO, the kubelet's grants of other resources and
// the drivers of functions that are no NIC are read at intervals, and by Confirm.
package custody
