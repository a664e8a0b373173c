package network

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/nearest"
	"fairlead.dev/fairlead/pkg/quote"
)

// A part of a config that has no effect is ignored, as it always was, and named: the pod
// starts, and lacks something that somebody wanted (meta-cni C8). Programs report their own
// unknown fields.

// BuiltInKeys returns the keys that the built-in plugin of a type reads, apart from those that
// every config may have; nil if none is built in.
func BuiltInKeys(pluginType string) []string {
	switch pluginType {
	case "sriov":
		return []string{"vlan", "vlanQoS", "vlanProto", "vlanTrunk", "mac", "spoofchk", "trust", "link_state",
			"min_tx_rate", "max_tx_rate", "mtu", "master", "uplink", "fallback", logLevel, logFile}
	case "macvlan":
		return []string{"master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"}
	case "ipvlan":
		return []string{"master", "mode", "mtu", "linkInContainer"}
	case "tuning":
		return []string{"sysctl", "mac", "mtu", "promisc", "allmulti", "txQLen", "dataDir"}
	}
	return nil
}

const (
	logLevel = "logLevel"
	logFile  = "logFile"
)

func ipamKeys(ipamType string) []string {
	switch ipamType {
	case "host-local":
		return []string{"type", "subnet", "rangeStart", "rangeEnd", "gateway", "ranges", "routes", "dataDir", "resolvConf"}
	case "static":
		return []string{"type", "addresses", "routes", "dns"}
	}
	return nil
}

func commonKeys() []string {
	return []string{"name", "type", "cniVersion", "cniVersions", "capabilities", "runtimeConfig", "args", "ipam", "dns", "prevResult", "builtin",
		"disableCheck", "disableGC", "loadOnlyInlinedPlugins", "deviceID", "pciBusID"}
}

// ignored names the fields of a built-in plugin's config that have no effect.
func (p Plugin) ignored() []string {
	keys := BuiltInKeys(p.Type)
	if !p.Builtin || keys == nil {
		return nil
	}
	all := unknown("", p.Fields, append(commonKeys(), keys...), "plugin "+p.Type)
	if level := word(p.Fields.Get(logLevel)); p.Type == "sriov" && level != "" && level != "info" {
		all = append(all, `field "logLevel": the plugin is part of the agent, whose --log-level counts`)
	}
	if p.Type == "sriov" && word(p.Fields.Get(logFile)) != "" {
		all = append(all, `field "logFile": the plugin is part of the agent, and logs with it`)
	}
	ipam, err := parseOptional(p.Fields.Get("ipam"))
	if ipamType := word(ipam.Get("type")); err == nil && ipamKeys(ipamType) != nil {
		all = append(all, unknown("ipam.", ipam, ipamKeys(ipamType), "ipam "+ipamType)...)
	}
	return all
}

func unknown(prefix string, fields Object, keys []string, reader string) []string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if containsFold(keys, key) {
			continue
		}
		said := fmt.Sprintf("field %q: %s has no such field", prefix+quote.Cut(key), reader)
		if known := nearest.Name(key, keys); known != "" && len(key) > 3 { // mac is not mtu
			said += fmt.Sprintf("; the nearest one is %q", prefix+known)
		}
		all = append(all, said)
	}
	return all
}

// word returns the string that a value is, or "".
func word(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return strings.TrimSpace(s)
}

// Ignored names the parts of an attachment's annotation and config that have no effect.
func (p Planned) Ignored() []string {
	if p.Selection.Name == "" {
		return nil // the cluster's own network
	}
	var all []string
	if keys := UnknownKeys([]Selection{p.Selection}); keys != "" {
		all = append(all, "annotation "+NetworksAnnotation+": "+keys)
	}
	for _, notice := range p.List.Notices {
		all = append(all, fmt.Sprintf("network %s (%s): %s", p.Network, p.IfName, notice))
	}
	for _, name := range []string{"bandwidth", "portMappings", "infinibandGUID"} { // CNI_ARGS has the others too
		declared := slices.ContainsFunc(p.List.Plugins, func(m Plugin) bool { return m.Capabilities[name] })
		if _, asked := p.Capabilities[name]; asked && !declared && !p.Primary {
			all = append(all, fmt.Sprintf("network %s (%s): %s of the pod's annotation: no plugin of the network declares that capability", p.Network, p.IfName, name))
		}
	}
	return all
}
