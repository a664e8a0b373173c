// Package repair finds VFs that a pod has left behind and that no record restores, and makes
// them as they were before.
//
// Most VFs are restored by the release of their sandbox, which follows the ledger's record.
// Without a record nobody restores a VF: the ledger was lost while pods were running, or the
// workload took the driver away, which a release does not bind again.
//
//	stray.go   the evidence that a VF is Fairlead's own residue
//	find.go    Find: the strays that are free now, and their repairs
//	memory.go  how each VF was when it was last free, on disk
//	apply.go   one repair
//	repair.go  the Repairer, which looks at start, after events and every five minutes
//
// An administrator may have set a VLAN or a name by hand. So a value that looks unusual is no
// evidence: only a stray is repaired. A VF becomes a stray in four ways:
//
//	another network namespace had its netdev, and no record named the VF
//	the ledger was new at the start, and the kubelet had given the VF to a pod
//	the ledger was new at the start, and a CNI device-info file named the VF
//	a recorded sandbox has left it without a driver
//
// Only VFs of Fairlead's pools, and VFs that a profile governs, can be strays.
package repair
