package network

import (
	"encoding/json"
	"fmt"
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

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *ConfList) UnmarshalJSON(data []byte) error {
	parsed, err := ParseConfList(data, "")
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}

// Stdin is what member i gets on its standard input: its config with the list's
// name and version, and prevResult where it is not nil.
func (l ConfList) Stdin(i int, prevResult json.RawMessage) (json.RawMessage, error) {
	add := map[string]any{"name": l.Name, "cniVersion": l.CNIVersion}
	if prevResult != nil {
		add["prevResult"] = prevResult
	}
	return mergeInto(l.Plugins[i].Conf, add)
}

// mergeInto sets top-level keys of a JSON object and leaves all others as they
// are written.
func mergeInto(object json.RawMessage, add map[string]any) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return nil, fmt.Errorf("reading a plugin's config: %w", err)
	}
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	for key, value := range add {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encoding %s for a plugin's config: %w", key, err)
		}
		fields[key] = raw
	}
	return json.Marshal(fields)
}
