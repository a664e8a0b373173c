package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/version"
)

// DefaultCNIVersion is what a config without a cniVersion gets: the version of
// most published examples, which practically every plugin speaks. (The CNI
// specification's own default, 0.1.0, has results without interfaces.)
const DefaultCNIVersion = "0.3.1"

// Definition is a net-attach-def, or another source of a CNI config, parsed.
type Definition struct {
	Namespace, Name string
	Resource        string // extended resource whose devices back it; "" for none
	List            ConfList
	// FromFile is set where the object has an empty spec: its config is the file
	// in the conf dir whose CNI name is the object's; List is empty until Load.
	FromFile bool
}

// Network is namespace/name, as users write it.
func (d Definition) Network() string { return d.Namespace + "/" + d.Name }

// ConfList is a CNI config list with its name and version filled in. A single
// plugin's config is a list of one.
type ConfList struct {
	CNIVersion   string
	Name         string
	DisableCheck bool
	DisableGC    bool
	Plugins      []Plugin
}

// Plugin is one member of a list; Conf is its config without name and cniVersion
// of the list, which Stdin adds.
type Plugin struct {
	Type         string
	Capabilities map[string]bool
	Builtin      bool // false where the config says "builtin": false, which forces the binary
	Conf         json.RawMessage
}

var listNameRE = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`) // the CNI specification's rule for network names

// ParseDefinition reads a net-attach-def: the config of its spec, a plugin's
// config or a list as JSON, and its annotations.
func ParseDefinition(namespace, name, config string, annotations map[string]string) (Definition, error) {
	d := Definition{Namespace: namespace, Name: name, Resource: strings.TrimSpace(annotations[ResourceAnnotation])}
	if err := checkResource(d.Resource); err != nil {
		return d, fmt.Errorf("net-attach-def %s, annotation %s: %w", d.Network(), ResourceAnnotation, err)
	}
	if strings.TrimSpace(config) == "" {
		d.FromFile = true
		return d, nil
	}
	list, err := ParseConfList([]byte(config), name)
	if err != nil {
		return d, fmt.Errorf("net-attach-def %s, spec.config: %w", d.Network(), err)
	}
	d.List = list
	return d, nil
}

// Load completes a definition with an empty spec. file returns the config in the
// conf dir that has the given CNI name.
func (d Definition) Load(file func(name string) ([]byte, error)) (Definition, error) {
	if !d.FromFile {
		return d, nil
	}
	config, err := file(d.Name)
	if err != nil {
		return d, fmt.Errorf("net-attach-def %s has an empty spec: its config is the file in the CNI conf dir with \"name\": %q: %w", d.Network(), d.Name, err)
	}
	list, err := ParseConfList(config, d.Name)
	if err != nil {
		return d, fmt.Errorf("net-attach-def %s, file of the CNI conf dir: %w", d.Network(), err)
	}
	d.List, d.FromFile = list, false
	return d, nil
}

// checkResource applies the form of an extended resource: prefix/name.
func checkResource(resource string) error {
	if resource == "" {
		return nil
	}
	prefix, name, found := strings.Cut(resource, "/")
	if !found || prefix == "" || name == "" || strings.ContainsAny(name, "/ \t\n") {
		return fmt.Errorf("%q is not a resource of the form prefix/name", resource)
	}
	return nil
}

// ParseConfList reads a plugin's config or a config list. defaultName is used
// where the config has no name.
func ParseConfList(config []byte, defaultName string) (ConfList, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(config, &top); err != nil {
		return ConfList{}, fmt.Errorf("is not a JSON object: %s", jsonFault(string(config), err))
	}
	if top == nil {
		return ConfList{}, fmt.Errorf("is null, not a JSON object")
	}
	if err := fillIn(top, defaultName); err != nil {
		return ConfList{}, err
	}
	list, err := parseTop(top)
	if err != nil {
		return ConfList{}, err
	}
	return list, checkList(list)
}

// fillIn sets a missing name and a missing version.
func fillIn(top map[string]json.RawMessage, defaultName string) error {
	for key, value := range map[string]string{"name": defaultName, "cniVersion": DefaultCNIVersion} {
		var given string
		if raw, ok := top[key]; ok {
			if err := json.Unmarshal(raw, &given); err != nil {
				return fmt.Errorf("field %s is not a string: %s", key, short(raw))
			}
		}
		if given == "" {
			top[key], _ = json.Marshal(value)
		}
	}
	return nil
}

func parseTop(top map[string]json.RawMessage) (ConfList, error) {
	if _, isList := top["plugins"]; !isList {
		plugin, err := parsePlugin(mustMarshal(top))
		if err != nil {
			return ConfList{}, err
		}
		list := ConfList{Plugins: []Plugin{plugin}}
		_ = json.Unmarshal(top["name"], &list.Name)
		_ = json.Unmarshal(top["cniVersion"], &list.CNIVersion)
		return list, nil
	}
	if bytes.Equal(bytes.TrimSpace(top["plugins"]), []byte("null")) {
		return ConfList{}, fmt.Errorf("field plugins is null; list at least one plugin")
	}
	parsed, err := libcni.NetworkConfFromBytes(mustMarshal(top))
	if err != nil {
		return ConfList{}, err
	}
	list := ConfList{Name: parsed.Name, CNIVersion: parsed.CNIVersion, DisableCheck: parsed.DisableCheck, DisableGC: parsed.DisableGC}
	return list, list.parsePlugins(top["plugins"])
}

// parsePlugins reads the members from the text itself: libcni's copy has gone
// through float64, which ruins large integers.
func (l *ConfList) parsePlugins(raw json.RawMessage) error {
	var members []json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return fmt.Errorf("field plugins is not a list: %s", short(raw))
	}
	for i, member := range members {
		plugin, err := parsePlugin(member)
		if err != nil {
			return fmt.Errorf("plugin %d: %w", i+1, err)
		}
		l.Plugins = append(l.Plugins, plugin)
	}
	return nil
}

func parsePlugin(conf json.RawMessage) (Plugin, error) {
	var head struct {
		Type         string          `json:"type"`
		Capabilities map[string]bool `json:"capabilities"`
		Builtin      *bool           `json:"builtin"`
		IPAM         json.RawMessage `json:"ipam"`
	}
	if err := json.Unmarshal(conf, &head); err != nil {
		return Plugin{}, fmt.Errorf("is not a plugin's config: %w", err)
	}
	p := Plugin{Type: head.Type, Capabilities: head.Capabilities, Builtin: head.Builtin == nil || *head.Builtin, Conf: conf}
	switch {
	case p.Type == "":
		return p, fmt.Errorf("field type is missing; name the plugin's binary")
	case strings.ContainsAny(p.Type, "/\\\x00") || p.Type == "." || p.Type == "..":
		return p, fmt.Errorf("field type: %q is a path; name the plugin's binary without its directory", p.Type)
	case p.Type == OwnType:
		return p, fmt.Errorf("field type: %q would call Fairlead from within Fairlead without end; name the plugin that makes the interface", p.Type)
	case ipamType(head.IPAM) == OwnType:
		return p, fmt.Errorf("field ipam.type: %q has no binary of that kind, and would call Fairlead from within Fairlead without end; use host-local, static, or another ipam plugin", OwnType)
	}
	return p, nil
}

// ipamType is empty where the section is none that has a type: that is for the
// plugin to refuse.
func ipamType(section json.RawMessage) string {
	var ipam struct {
		Type string `json:"type"`
	}
	_ = json.Unmarshal(section, &ipam)
	return ipam.Type
}

func checkList(l ConfList) error {
	if len(l.Plugins) == 0 {
		return fmt.Errorf("field plugins is empty; list at least one plugin")
	}
	if !listNameRE.MatchString(l.Name) {
		return fmt.Errorf("field name: %q is not a network name; use letters, digits, '_', '.' and '-', beginning with a letter or digit", l.Name)
	}
	newer, err := version.GreaterThan(l.CNIVersion, version.Current())
	if err != nil {
		return fmt.Errorf("field cniVersion: %w", err)
	}
	if newer {
		return fmt.Errorf("field cniVersion: %s is newer than %s, the newest that is understood", l.CNIVersion, version.Current())
	}
	return nil
}

// mustMarshal encodes values that came from a decoder, which always succeeds.
func mustMarshal(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return raw
}
