// Package policy compares net-attach-defs, pods' annotations and VFs with the
// AttachmentPolicies of a cluster.
//
// A policy lists the allowed things and refuses the rest. Its rules for networks are
// those of the namespace in which the net-attach-def lies, its rules for pods those of
// the pod's namespace. For each namespace one policy is in effect: the first that selects
// it, by priority and then by name, else the policy named "default", else none. Nothing
// here gives a right that another rule denies: hard floors, namespace isolation and the
// agent's flags hold in any case.
//
// The package reads no node and no cluster. Every refusal is a *Violation, which names
// the policy, the field, its value, the rule and the remedy.
package policy
