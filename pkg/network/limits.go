package network

import "fmt"

// Limits on pods' annotations and on configs. They are checked before anything is made, and
// hold for everybody: the agent works for all pods of its node (security S7).
const (
	MaxNetworks        = 32        // of one pod's annotation
	MaxAnnotationBytes = 64 << 10  // of one networks annotation
	MaxConfigBytes     = 64 << 10  // of one net-attach-def's config, or one file of the conf dir
	MaxPodConfigBytes  = 256 << 10 // of the configs of all networks of one pod: they are in its record
	MaxMembers         = 16        // plugins of one list
	MaxIPs             = 64        // that a pod may ask for on one network
	MaxDepth           = 32        // objects and lists within each other
	MaxNameBytes       = 253       // of a name: network, namespace, plugin type
	MaxKeys            = 256       // of one JSON object
)

// LimitError is a value above one of the limits.
type LimitError struct {
	Field  string // "" if it is the text as a whole
	Value  int
	Limit  int
	Unit   string // of Value and Limit: "bytes"
	Remedy string
}

func (e *LimitError) Error() string { return e.reason() + "; " + e.Remedy }

func (e *LimitError) reason() string {
	field := ""
	if e.Field != "" {
		field = "field " + e.Field + ": "
	}
	return fmt.Sprintf("%s%d %s, the limit is %d", field, e.Value, e.Unit, e.Limit)
}

func checkMembers(members int) error {
	if members <= MaxMembers {
		return nil
	}
	return &LimitError{Field: "plugins", Value: members, Limit: MaxMembers, Unit: "plugins", Remedy: "make several networks of it"}
}

// checkPodConfigs bounds the record of a pod. A network that a pod has twice counts twice.
func checkPodConfigs(all []Selection, definitions map[string]Definition) error {
	bytes := 0
	for _, s := range all {
		bytes += definitions[s.Network()].configBytes()
	}
	if bytes <= MaxPodConfigBytes {
		return nil
	}
	return &LimitError{Value: bytes, Limit: MaxPodConfigBytes, Unit: "bytes in the configs of all networks of the pod",
		Remedy: "use fewer networks, or make their configs smaller"}
}
