// Package sandbox keeps pods' sandboxes: it attaches the networks of a sandbox, all or
// nothing, releases them from the ledger's record, and repairs whatever was interrupted.
//
// A Keeper is used by doors (package cni serves the runtime) and by its own loops. It
// knows no CNI verb, no wire format and no shim: a Request says which sandbox, and how
// plugin binaries are run for it. It configures no link: Chains does, which is
// pkg/attach.
//
//	planner     which networks, interface names and devices a sandbox gets
//	reserver    nobody else has its devices; the intents are durable
//	binder      makes the networks, side by side, in order
//	releaser    undoes them, and keeps failures for a retry
//	reconciler  finds sandboxes to release: retries, interrupted ones, dead ones
//	statuses    writes the network-status annotation
//	allocations forgets devices that no pod has any more
package sandbox
