package network

import (
	"encoding/json"
	"fmt"
)

// DropIn is the config of one plugin in a file of its own.
type DropIn struct {
	File   string // for messages
	Config []byte
}

// DropIns returns the drop-in plugins of a network, in order: since CNI 1.1, a runtime appends
// the files <conf dir>/<network name>/*.conf to the network's list.
type DropIns func(network string) ([]DropIn, error)

// isSingle reports that the config is one plugin's. A config without type and plugins is a
// list if drop-ins may complete it.
func (t top) isSingle(dropIns DropIns) bool {
	_, hasType := t.fields["type"]
	return t.members == nil && (hasType || dropIns == nil)
}

// withDropIns appends the drop-in plugins, unless the list says loadOnlyInlinedPlugins.
func (l ConfList) withDropIns(t top, dropIns DropIns) (ConfList, error) {
	inlinedOnly, err := looseBool("loadOnlyInlinedPlugins", t.InlinedOnly)
	if err != nil {
		return ConfList{}, err
	}
	if !inlinedOnly && dropIns != nil {
		files, err := dropIns(l.Name)
		if err != nil {
			return ConfList{}, err
		}
		if err := checkMembers(len(l.Plugins) + len(files)); err != nil {
			return ConfList{}, fmt.Errorf("with drop-in plugins: %w", err)
		}
		for _, f := range files {
			if l, err = l.withDropIn(f); err != nil {
				return ConfList{}, fmt.Errorf("drop-in plugin %s: %w", f.File, err)
			}
		}
	}
	if len(l.Plugins) == 0 {
		return ConfList{}, fmt.Errorf("has neither type nor plugins, and no drop-in plugin completes it; list at least one plugin")
	}
	return l, nil
}

// withDropIn appends one plugin. Its config passes the checks of any other member's.
func (l ConfList) withDropIn(d DropIn) (ConfList, error) {
	if len(d.Config) > MaxConfigBytes {
		return l, &LimitError{Value: len(d.Config), Limit: MaxConfigBytes, Unit: "bytes", Remedy: "make the config smaller"}
	}
	config := withoutSpace(d.Config)
	fields, err := ParseObject(config)
	if err != nil {
		return l, fmt.Errorf("is not a JSON object: %s", jsonFault(string(config), err))
	}
	if fields == nil {
		return l, fmt.Errorf("is null, not a JSON object")
	}
	if err := inspectMember(config); err != nil {
		return l, err
	}
	return l.withMembers([]json.RawMessage{config}, "")
}
