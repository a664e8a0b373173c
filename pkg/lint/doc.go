// Package lint says what Fairlead would refuse of manifests, before they are applied:
// net-attach-defs, pods, policies and profiles. It needs neither a node nor a cluster, so
// it does not see what depends on them: which interfaces a node has, and how it uses them.
package lint
