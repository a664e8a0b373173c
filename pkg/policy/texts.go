package policy

import (
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strings"
)

// pathFields are fields in which plugins take a file, a directory or a socket of the
// host, whatever its form: a relative path begins at the runtime's directory.
var pathFields = []string{
	"dataDir", "resolvConf", "logFile", "log_file", "kubeconfig", "configuration_path", "configurationPath", "socket", "socketPath",
	"socketFile", "daemonSocketDir", "daemonSocketPath", "cniDir", "binDir", "confDir", "stateDir", "cniBinDir", "cniConfDir",
}

// hostPaths judges every text in the config that is a path: programs read and write
// these files as root.
func (c check) hostPaths() {
	c.eachText(func(field, key, value string) {
		if strings.EqualFold(field, "kernelpath") || !isPath(key, value) {
			return // kernelpath names an interface
		}
		if path.Clean(value) != value || !matches(c.rules.HostPaths, value) {
			c.v.add(field, value, listed("spec.networks.hostPaths", c.rules.HostPaths), "leave it out, "+ask)
		}
	})
}

// macs judges every MAC and GUID in the config: those of the plugins, and those that the
// author writes where plugins look for the wishes of a pod.
func (c check) macs() {
	if c.rules.MAC {
		return
	}
	c.eachText(func(field, key, value string) {
		if value != "" && (strings.EqualFold(key, "mac") || strings.EqualFold(key, "infinibandGUID") || strings.EqualFold(key, "guid")) {
			c.v.add(field, value, "spec.networks.mac: none", "leave it out, "+ask)
		}
	})
}

// eachText calls visit for each text in the config.
func (c check) eachText(visit func(field, key, value string)) {
	var conf map[string]any
	if err := json.Unmarshal(c.m.raw, &conf); err != nil {
		return // readMember has read it
	}
	walk("", conf, visit)
}

func isPath(key, value string) bool {
	if value == "" {
		return false
	}
	named := slices.ContainsFunc(pathFields, func(f string) bool { return strings.EqualFold(f, key) })
	return named || strings.HasPrefix(value, "/") || slices.Contains(strings.Split(value, "/"), "..")
}

// walk calls visit for each text, with its field as users write it ("ipam.dataDir") and
// the key that it has.
func walk(field string, value any, visit func(field, key, value string)) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			inner := key
			if field != "" {
				inner = field + "." + key
			}
			walk(inner, v[key], visit)
		}
	case []any:
		for _, element := range v {
			walk(field, element, visit)
		}
	case string:
		visit(field, field[strings.LastIndex(field, ".")+1:], v)
	}
}
