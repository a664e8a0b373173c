// Package profile brings the NICs of this node into the state that profiles
// declare: Plan compares and says what to do, Applier does it and reads back,
// Converge repeats both until nothing is left to do.
//
// Plan is a pure function of (profiles, NICs, holders). It takes what fits as it
// is: VFs that are there are not made anew, and a second plan after a successful
// one is empty. A VF that a pod holds is never touched: its knobs belong to the
// pod's network until it is released.
//
// The package doesn't put VFs into pools (pkg/config says which group has which
// resource), doesn't drain nodes, and remembers nothing but which number of VFs
// a PF has refused a moment ago.
package profile
