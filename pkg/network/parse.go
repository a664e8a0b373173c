package network

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/version"

	"fairlead.dev/fairlead/pkg/quote"
)

// ConfList is a CNI config list with its name and version filled in. A single
// plugin's config is a list of one.
type ConfList struct {
	CNIVersion   string
	Name         string
	DisableCheck bool
	DisableGC    bool
	Plugins      []Plugin
	// Notices name the parts of the config that are ignored, for the log and an event.
	Notices []string
}

// Plugin is one member of a list.
type Plugin struct {
	Type         string
	Capabilities map[string]bool
	Builtin      bool   // false if the config says "builtin": false, which forces the binary
	Fields       Object // its config; ConfList.Member adds the list's name and version

	names    deviceConf // devices that the config names
	fallback bool       // the config has a "fallback" that is not empty
}

// ParseConfList reads a plugin's config or a config list, of a net-attach-def or of a
// file. If the config has no name, it gets defaultName.
func ParseConfList(config []byte, defaultName string) (ConfList, error) {
	return ParseConfFile(config, defaultName, nil)
}

// ParseConfFile reads a file of the conf dir like ParseConfList. dropIns returns the drop-in
// plugins of a network; they are appended to its list. It may be nil.
func ParseConfFile(config []byte, defaultName string, dropIns DropIns) (ConfList, error) {
	if len(config) > MaxConfigBytes {
		return ConfList{}, &LimitError{Value: len(config), Limit: MaxConfigBytes, Unit: "bytes", Remedy: "make the config smaller"}
	}
	config = withoutSpace(config)
	top, err := readTop(config)
	if err != nil {
		return ConfList{}, err
	}
	if err := inspectConf(config); err != nil {
		return ConfList{}, err
	}
	l, err := top.list(defaultName)
	if err != nil {
		return ConfList{}, err
	}
	if top.isSingle(dropIns) {
		single := top.fields.With(Object{"name": encodeString(l.Name), "cniVersion": encodeString(l.CNIVersion)})
		return l.withMembers([]json.RawMessage{single.JSON()}, "")
	}
	if top.members != nil {
		if l, err = l.withMembers(top.members, "plugin %d: "); err != nil {
			return ConfList{}, err
		}
	}
	return l.withDropIns(top, dropIns)
}

// withoutSpace drops the white space of a JSON object, which lives as long as its
// net-attach-def. Other texts stay as they are: errors name places in them.
func withoutSpace(config []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, config); err != nil || !bytes.HasPrefix(b.Bytes(), []byte("{")) {
		return config
	}
	return b.Bytes()
}

// top has the keys of a config's top level.
type top struct {
	Name         string          `json:"name"`
	CNIVersion   string          `json:"cniVersion"`
	CNIVersions  []string        `json:"cniVersions"`
	DisableCheck json.RawMessage `json:"disableCheck"`
	DisableGC    json.RawMessage `json:"disableGC"`
	InlinedOnly  json.RawMessage `json:"loadOnlyInlinedPlugins"`

	fields  Object
	members []json.RawMessage // nil: the config is one plugin's, or a list of drop-ins only
}

// readTop distinguishes a list from a plugin's config and counts the members, before anything else
// is decoded. It reads `plugins` as it is written, a member's bytes included:
// through float64, large integers would be ruined.
func readTop(config []byte) (top, error) {
	fields, err := ParseObject(config)
	if err != nil {
		return top{}, fmt.Errorf("is not a JSON object: %s", jsonFault(string(config), err))
	}
	if fields == nil {
		return top{}, fmt.Errorf("is null, not a JSON object")
	}
	t := top{fields: fields}
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

// list returns the list without its members.
func (t top) list(defaultName string) (ConfList, error) {
	l := ConfList{Name: cmp.Or(t.Name, defaultName)}
	if len(l.Name) > MaxNameBytes {
		return l, &LimitError{Field: "name", Value: len(l.Name), Limit: MaxNameBytes, Unit: "bytes", Remedy: "choose a shorter name"}
	}
	if !listNameRE.MatchString(l.Name) {
		return l, fmt.Errorf("field name: %q is not a network name; use letters, digits, '_', '.' and '-', beginning with a letter or digit", quote.Cut(l.Name))
	}
	var err error
	if l.CNIVersion, err = t.version(); err != nil {
		return l, err
	}
	if l.DisableCheck, err = looseBool("disableCheck", t.DisableCheck); err != nil {
		return l, err
	}
	l.DisableGC, err = looseBool("disableGC", t.DisableGC)
	return l, err
}

// topFault names the field that has a value of another type.
func topFault(fields Object, err error) error {
	for _, key := range []string{"name", "cniVersion"} {
		if raw, ok := fields[key]; ok && json.Unmarshal(raw, new(string)) != nil {
			return fmt.Errorf("field %s is not a string: %s", key, short(raw))
		}
	}
	return fmt.Errorf("is not a network config: %s", quote.Message(err))
}

// version is the newest of the versions that the config offers and that is understood.
func (t top) version() (string, error) {
	newest := ""
	for _, v := range append(t.CNIVersions, cmp.Or(t.CNIVersion, DefaultCNIVersion)) {
		understood, err := version.GreaterThanOrEqualTo(version.Current(), v)
		if err != nil {
			return "", fmt.Errorf("field cniVersion: %s", quote.Message(err))
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
		return "", fmt.Errorf("field cniVersion: %s is newer than %s, the newest that is understood", quote.Plain(t.CNIVersion), version.Current())
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
	for i, conf := range members {
		prefix := where
		if where != "" {
			prefix = fmt.Sprintf(where, i+1)
		}
		plugin, dropped, err := readPlugin(conf)
		if err == nil && plugin.Type == "" {
			err = fmt.Errorf("field type is missing; name the plugin's binary")
		}
		if err != nil {
			return ConfList{}, fmt.Errorf("%s%w", prefix, err)
		}
		if dropped {
			l.Notices = append(l.Notices, fmt.Sprintf("%sfield prevResult of %s is ignored: a plugin's result comes from the plugin before it; remove it", prefix, plugin.Type))
		}
		for _, notice := range plugin.ignored() {
			l.Notices = append(l.Notices, prefix+notice)
		}
		l.Plugins = append(l.Plugins, plugin)
	}
	return l, nil
}

// readPlugin reads a member. It drops a result that the config's author wrote, and
// reports that. A plugin would take it for the work of the one before: portmap, for
// instance, forwards the host's ports to the addresses in it.
func readPlugin(conf json.RawMessage) (_ Plugin, dropped bool, err error) {
	fields, err := ParseObject(conf)
	if err != nil {
		return Plugin{}, false, fmt.Errorf("is not a plugin's config: %s", quote.Message(err))
	}
	var head struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
		Builtin      *bool           `json:"builtin"`
	}
	if err := json.Unmarshal(conf, &head); err != nil {
		return Plugin{}, false, fmt.Errorf("is not a plugin's config: %s", quote.Message(err))
	}
	p := Plugin{Type: head.Type, Capabilities: head.Capabilities, Builtin: head.Builtin == nil || *head.Builtin}
	p.Fields = fields.Without("prevResult")
	p.names, p.fallback = deviceKeys(p.Fields), hasFallback(p.Fields)
	return p, len(p.Fields) < len(fields), nil
}
