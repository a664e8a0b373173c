// Package attach puts one network into one pod's network namespace and takes it
// out again: VFs (for the kernel and for userspace drivers), macvlan and ipvlan.
//
// An attachment is made in two steps. Prepare validates the configuration and
// reads how things are, and changes nothing. Its caller makes the record that it
// returns durable; Bind then changes the node. Release needs nothing but that
// record, in whatever state pod, namespace, VF and PF are by then.
//
// What Bind does and how Release undoes it is one list of steps (steps.go), so
// that neither can know a step that the other does not.
//
// The package does not decide which network a pod gets, keeps no record of its
// own, and runs no plugin but an IPAM that is not built in.
package attach
