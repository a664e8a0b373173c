// Package kube is all that Fairlead's node agent has to do with the API server,
// and the only user of client-go. It watches the pods of one node, the
// net-attach-defs, the node's labels, the agent's ConfigMaps and its DaemonSet,
// answers from these caches, writes the network-status annotation, and reports
// events.
//
// It asks the API server itself only where a cache cannot know: for a pod or a
// net-attach-def so new that its event has not arrived. It decides nothing about
// networks, and an API server that is away keeps none of its callers waiting
// longer than Options.RequestTimeout.
package kube
