// Package attach puts one network into one pod's network namespace and takes it out
// again. A network is a chain of members. Each is made by a Plugin: sriov and vfio
// (VFs), macvlan, ipvlan and tuning are built in; every other type is a program.
//
// An attachment is made in two steps. Set.Prepare validates the configuration and
// reads how things are, and changes nothing. The caller makes the record that it
// returns durable. Set.Add then changes the node. Set.Del needs only that record,
// whatever the state of pod, namespace, VF and PF by then:
//
//	att, err := set.Prepare(ctx, call, list)
//	// write att to the ledger
//	result, err := set.Add(ctx, call, &att)
//	// write att, with its result, to the ledger
//	err = set.Del(ctx, call, &att)
//
// A built-in plugin's Add and Del share one list of steps (steps.go): each step has its
// undo beside it.
//
//	chain.go, check.go    the chain runner
//	binary.go             members that are programs
//	vf*.go                sriov and vfio: vf.go has the steps
//	child.go, macvlan.go, ipvlan.go, fallback.go, uplinkvlan.go
//	                      links on a host netdev; inpod.go: on an interface of the pod
//	tuning*.go            tuning
//	addressing.go         addresses and routes, for all that make interfaces
//	guard.go              refuses devices and links of others, and of the host
//	handles.go, kernel.go handles on namespaces
//
// The package does not decide which network a pod gets, and keeps no record of its
// own.
package attach
