// Package kube is the node agent's only connection to the API server, and the only user of
// client-go. It watches the pods of one node, the net-attach-defs, the node's labels, the
// agent's ConfigMaps and its DaemonSet, and answers from these caches. It also writes the
// network-status annotation, and records events.
//
// It sends a request only if a cache cannot have the answer: for a pod or net-attach-def so new
// that its event has not arrived. It decides nothing about networks. It parses each
// net-attach-def once, when it arrives, and keeps the result in place of the object: an error
// concerns only the pods that use the network. If the API server is away, a caller waits for
// Options.RequestTimeout at most.
package kube
