package network

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/containernetworking/cni/pkg/version"
)

// ConfList is a CNI config list with its name and version filled in. A single
// plugin's config is a list of one.
type ConfList struct {
	CNIVersion   string
	Name         string
	DisableCheck bool
	DisableGC    bool
	Plugins      []Plugin
	// Notices name the parts of the config that are ignored, for the log.
	Notices []string
}

// Plugin is one member of a list; Conf is its config without name and cniVersion
// of the list, which Stdin adds.
type Plugin struct {
	Type         string
	Capabilities map[string]bool
	Builtin      bool // false if the config says "builtin": false, which forces the binary
	Conf         json.RawMessage
}

// ParseConfList reads a plugin's config or a config list, of a net-attach-def or of a
// file. If the config has no name, it gets defaultName.
func ParseConfList(config []byte, defaultName string) (ConfList, error) {
	if len(config) > MaxConfigBytes {
		return ConfList{}, &LimitError{Value: len(config), Limit: MaxConfigBytes, Unit: "bytes", Remedy: "make the config smaller"}
	}
	top, err := readTop(config)
	if err != nil {
		return ConfList{}, err
	}
	if err := inspectConf(config); err != nil {
		return ConfList{}, err
	}
	l := ConfList{Name: cmp.Or(top.Name, defaultName)}
	if l.CNIVersion, err = top.version(); err != nil {
		return ConfList{}, err
	}
	if l.DisableCheck, err = looseBool("disableCheck", top.DisableCheck); err != nil {
		return ConfList{}, err
	}
	if l.DisableGC, err = looseBool("disableGC", top.DisableGC); err != nil {
		return ConfList{}, err
	}
	if top.members == nil {
		single, err := mergeInto(config, map[string]any{"name": l.Name, "cniVersion": l.CNIVersion})
		if err != nil {
			return ConfList{}, err
		}
		return l.withMembers([]json.RawMessage{single}, "")
	}
	return l.withMembers(top.members, "plugin %d: ")
}

// top has the keys of a config's top level.
type top struct {
	Name         string          `json:"name"`
	CNIVersion   string          `json:"cniVersion"`
	CNIVersions  []string        `json:"cniVersions"`
	DisableCheck json.RawMessage `json:"disableCheck"`
	DisableGC    json.RawMessage `json:"disableGC"`

	members []json.RawMessage // nil: the config is one plugin's
}

// readTop tells a list from a plugin's config and counts the members, before anything else
// is decoded. It reads `plugins` as it is written, a member's bytes included:
// through float64, large integers would be ruined.
func readTop(config []byte) (top, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return top{}, fmt.Errorf("is not a JSON object: %s", jsonFault(string(config), err))
	}
	if fields == nil {
		return top{}, fmt.Errorf("is null, not a JSON object")
	}
	var t top
	if raw, isList := fields["plugins"]; isList {
		if err := json.Unmarshal(raw, &t.members); err != nil {
			return top{}, fmt.Errorf("field plugins is not a list: %s", short(raw))
		}
		if t.members == nil {
			return top{}, fmt.Errorf("field plugins is null; list at least one plugin")
		}
		if err := checkMembers(len(t.members)); err != nil {
			return top{}, err
		}
	}
	if err := json.Unmarshal(config, &t); err != nil {
		return top{}, topFault(fields, err)
	}
	return t, nil
}

// topFault names the field that has a value of another type.
func topFault(fields map[string]json.RawMessage, err error) error {
	for _, key := range []string{"name", "cniVersion"} {
		if raw, ok := fields[key]; ok && json.Unmarshal(raw, new(string)) != nil {
			return fmt.Errorf("field %s is not a string: %s", key, short(raw))
		}
	}
	return fmt.Errorf("is not a network config: %w", err)
}

// version is the newest of the versions that the config offers and that is understood.
func (t top) version() (string, error) {
	newest := ""
	for _, v := range append(t.CNIVersions, cmp.Or(t.CNIVersion, DefaultCNIVersion)) {
		understood, err := version.GreaterThanOrEqualTo(version.Current(), v)
		if err != nil {
			return "", fmt.Errorf("field cniVersion: %w", err)
		}
		better := newest == ""
		if !better {
			better, err = version.GreaterThan(v, newest)
		}
		if understood && better && err == nil {
			newest = v
		}
	}
	if newest == "" {
		return "", fmt.Errorf("field cniVersion: %s is newer than %s, the newest that is understood", cut(t.CNIVersion), version.Current())
	}
	return newest, nil
}

// looseBool reads true, false, or either as a string, as the specification's libcni does.
func looseBool(field string, raw json.RawMessage) (bool, error) {
	switch strings.ToLower(strings.Trim(string(raw), `"`)) {
	case "", "false", "null":
		return false, nil
	case "true":
		return true, nil
	}
	return false, fmt.Errorf("field %s is neither true nor false: %s", field, short(raw))
}

// withMembers adds the plugins. An error's text begins with where, a format for the
// member's number.
func (l ConfList) withMembers(members []json.RawMessage, where string) (ConfList, error) {
	if len(members) == 0 {
		return ConfList{}, fmt.Errorf("field plugins has no plugins; list at least one")
	}
	if len(l.Name) > MaxNameBytes {
		return ConfList{}, &LimitError{Field: "name", Value: len(l.Name), Limit: MaxNameBytes, Unit: "bytes", Remedy: "choose a shorter name"}
	}
	if !listNameRE.MatchString(l.Name) {
		return ConfList{}, fmt.Errorf("field name: %q is not a network name; use letters, digits, '_', '.' and '-', beginning with a letter or digit", l.Name)
	}
	for i, conf := range members {
		prefix := where
		if where != "" {
			prefix = fmt.Sprintf(where, i+1)
		}
		conf, dropped, err := withoutResult(conf)
		if err != nil {
			return ConfList{}, fmt.Errorf("%s%w", prefix, err)
		}
		plugin, err := readPlugin(conf)
		if err == nil && plugin.Type == "" {
			err = fmt.Errorf("field type is missing; name the plugin's binary")
		}
		if err != nil {
			return ConfList{}, fmt.Errorf("%s%w", prefix, err)
		}
		if dropped {
			l.Notices = append(l.Notices, fmt.Sprintf("%sfield prevResult of %s is ignored: a plugin's result comes from the plugin before it; remove it", prefix, plugin.Type))
		}
		l.Plugins = append(l.Plugins, plugin)
	}
	return l, nil
}

// withoutResult drops a result that the config's author wrote. A plugin would take it
// for the work of the one before: portmap, for instance, forwards the host's ports to
// the addresses in it.
func withoutResult(conf json.RawMessage) (json.RawMessage, bool, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(conf, &fields); err != nil {
		return nil, false, fmt.Errorf("is not a plugin's config: %w", err)
	}
	before := len(fields)
	maps.DeleteFunc(fields, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, "prevResult") })
	if len(fields) == before {
		return conf, false, nil
	}
	raw, err := json.Marshal(fields)
	return raw, true, err
}

// readPlugin reads the keys of a member that decide how it is run.
func readPlugin(conf json.RawMessage) (Plugin, error) {
	var head struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
		Builtin      *bool           `json:"builtin"`
	}
	if err := json.Unmarshal(conf, &head); err != nil {
		return Plugin{}, fmt.Errorf("is not a plugin's config: %w", err)
	}
	return Plugin{Type: head.Type, Capabilities: head.Capabilities, Builtin: head.Builtin == nil || *head.Builtin, Conf: conf}, nil
}
