package network

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// MarshalJSON writes the list as a CNI config list.
func (l ConfList) MarshalJSON() ([]byte, error) {
	plugins := make([]json.RawMessage, 0, len(l.Plugins))
	for _, p := range l.Plugins {
		plugins = append(plugins, p.Conf)
	}
	return json.Marshal(struct {
		CNIVersion   string            `json:"cniVersion"`
		Name         string            `json:"name"`
		DisableCheck bool              `json:"disableCheck,omitempty"`
		DisableGC    bool              `json:"disableGC,omitempty"`
		Plugins      []json.RawMessage `json:"plugins"`
	}{l.CNIVersion, l.Name, l.DisableCheck, l.DisableGC, plugins})
}

// UnmarshalJSON reads a recorded list. It checks nothing again: the text was
// checked when it was parsed, and a record of an earlier release must stay readable, or
// its pod could never be released.
func (l *ConfList) UnmarshalJSON(data []byte) error {
	var recorded struct {
		CNIVersion   string            `json:"cniVersion"`
		Name         string            `json:"name"`
		DisableCheck bool              `json:"disableCheck"`
		DisableGC    bool              `json:"disableGC"`
		Plugins      []json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		return fmt.Errorf("read a recorded config list: %w", err)
	}
	*l = ConfList{CNIVersion: recorded.CNIVersion, Name: recorded.Name, DisableCheck: recorded.DisableCheck, DisableGC: recorded.DisableGC}
	for i, conf := range recorded.Plugins {
		plugin, err := readPlugin(conf)
		if err != nil {
			return fmt.Errorf("read a recorded config list: plugin %d: %w", i+1, err)
		}
		l.Plugins = append(l.Plugins, plugin)
	}
	return nil
}

// Stdin returns the standard input of member i: its config with the list's
// name and version, and prevResult if it is not nil.
func (l ConfList) Stdin(i int, prevResult json.RawMessage) (json.RawMessage, error) {
	add := map[string]any{"name": l.Name, "cniVersion": l.CNIVersion}
	if prevResult != nil {
		add["prevResult"] = prevResult
	}
	return mergeInto(l.Plugins[i].Conf, add)
}

// mergeInto sets top-level keys of a JSON object and leaves all others as they are
// written. A key that differs in letter case only is replaced: most plugins would take
// the last of the two, which may be the config's (security S1, S5).
func mergeInto(object json.RawMessage, add map[string]any) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, fmt.Errorf("reading a plugin's config: %w", err)
	}
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool {
		for added := range add {
			if strings.EqualFold(key, added) {
				return true
			}
		}
		return false
	})
	for key, value := range add {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encoding %s for a plugin's config: %w", key, err)
		}
		fields[key] = raw
	}
	return json.Marshal(fields)
}
