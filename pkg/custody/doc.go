// Package custody answers who uses a PCI function or a netdev of the host. The kinds of
// users are listed at Kind: sandboxes, containers, the node's own network, processes with
// VFIO, other network namespaces, and so on.
//
// There is one question for each purpose:
//
//	View.ToAllocate   may the kubelet give the VF to a container?
//	View.ToAttach     may a sandbox get the function?
//	View.ToChange     whom would a change of the function disturb?
//	View.ToCarry      may a pod get a link on top of the netdev?
//
// The answer is a Use. Use.Reason is a sentence for the administrator, Use.TenantReason
// one for the author of a pod.
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
// The package changes nothing on the node and decides nothing. A View has a change at
// once if the change has an event. These facts change without events: VFIO, the kubelet's
// grants of other resources, and the drivers of functions that are not NICs. Run reads
// them at intervals, and Confirm reads them at once.
package custody
