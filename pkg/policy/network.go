package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// CheckNetwork compares a net-attach-def with the policy of its namespace. Interfaces
// that it does not name, such as that of the default route, are CheckUplink's.
func (s Set) CheckNetwork(d network.Definition) error {
	p := s.For(d.Namespace)
	if p == nil {
		return nil
	}
	v := violations{policy: "policy " + p.Name, object: "net-attach-def " + d.Network()}
	for i, plugin := range d.List.Plugins {
		m, err := readMember(plugin)
		v.member = m.name(i, len(d.List.Plugins))
		if err != nil {
			v.add("config", err.Error(), "a config that cannot be read is not allowed", "correct it")
			continue
		}
		c := check{p.Networks, m, &v}
		c.plugin()
		c.uplinks()
		c.modes()
		c.vlans()
		c.vfSettings()
		c.hostPaths()
		c.macs()
	}
	return v.err()
}

// CheckUplink judges an interface of the host that a network uses without naming it: that
// of the default route, or one that a fallback has chosen. names are the interface's name
// and its alternative ones.
func (s Set) CheckUplink(networkName string, names []string) error {
	namespace, _, _ := strings.Cut(networkName, "/")
	p := s.For(namespace)
	if p == nil || slices.ContainsFunc(names, func(n string) bool { return matches(p.Networks.Uplinks, n) }) {
		return nil
	}
	v := violations{policy: "policy " + p.Name, object: "net-attach-def " + networkName}
	// The names are the node's business, not the tenant's.
	v.add("master", "", listed("spec.networks.uplinks", p.Networks.Uplinks), uplinkRemedy)
	return v.err()
}

// check is the comparison of one member with the rules.
type check struct {
	rules config.NetworkRules
	m     member
	v     *violations
}

const ask = "or ask an administrator to change the policy"

func (c check) plugin() {
	asked := c.m.Type
	if config.HasProgramEntry(asked) && !c.m.Builtin {
		asked = config.ProgramPrefix + asked
	}
	if !slices.Contains(c.rules.Plugins, asked) {
		remedy := "use one of these, " + ask
		if asked != c.m.Type {
			remedy = `leave out "builtin": false, ` + ask
		}
		c.v.add("type", asked, listed("spec.networks.plugins", c.rules.Plugins), remedy)
	}
	if isSet(c.m.Delegate) {
		c.v.add("delegate", string(c.m.Delegate), "a plugin within a plugin is not allowed", "list the plugins of the network one after another")
	}
	if t := c.m.ipam.Type; t != "" && !slices.Contains(c.rules.IPAM, t) {
		c.v.add("ipam.type", t, listed("spec.networks.ipam", c.rules.IPAM), "use one of these, "+ask)
	}
}

// uplinks judges names of the host's interfaces, as they are written.
func (c check) uplinks() {
	named := []struct {
		field string
		value any
	}{
		{"uplink", c.m.Uplink}, {"bridge", c.m.Bridge}, {"device", c.m.Device}, {"hwaddr", c.m.HWAddr}, {"kernelpath", c.m.KernelPath},
		{"pciBusID", c.m.PCIBusID}, {"deviceID", c.m.DeviceID}, {"runtimeConfig.deviceID", c.m.runtimeDevice},
	}
	if inPod, _ := c.m.LinkInContainer.(bool); !inPod {
		named = append(named, struct {
			field string
			value any
		}{"master", c.m.Master})
	}
	for _, n := range named {
		value := text(n.value)
		if n.field == "bridge" && value == "" && c.m.Type == "bridge" {
			value = "cni0" // the plugin's own default
		}
		if value != "" && !matches(c.rules.Uplinks, value) && !matches(c.rules.Uplinks, fullAddress(value)) {
			c.v.add(n.field, value, listed("spec.networks.uplinks", c.rules.Uplinks), uplinkRemedy)
		}
	}
}

const uplinkRemedy = "name an interface that the policy allows, " + ask

// fullAddress returns a PCI address with its domain, and any other text as it is.
func fullAddress(value string) string {
	if addr, err := pci.ParseAddress(value); err == nil {
		return addr.String()
	}
	return value
}

// modes judges the modes of a macvlan or ipvlan, and those that a fallback would have.
func (c check) modes() {
	switch c.m.Type {
	case "macvlan":
		c.mode(c.m.Mode, "bridge")
	case "ipvlan":
		c.mode(c.m.Mode, "l2")
	case "sriov":
		kinds, _ := c.m.Fallback.([]any)
		for _, kind := range kinds {
			if kind == "ipvlan" {
				c.mode(nil, "l2")
			} else {
				c.mode(nil, "bridge")
			}
		}
	}
}

func (c check) mode(value any, unset string) {
	mode := text(value)
	if mode == "" {
		mode = unset
	}
	if !slices.Contains(c.rules.Modes, mode) {
		c.v.add("mode", mode, listed("spec.networks.modes", c.rules.Modes), "choose one of these, "+ask)
	}
}

// vlans judges ids. An explicit 0 is judged too: it takes the VLAN away that the VF's
// profile has set.
func (c check) vlans() {
	rule := listed("spec.networks.vlans", strings.Fields(c.rules.VLANs.String()))
	for _, f := range []struct {
		field string
		value any
	}{{"vlan", c.m.VLAN}, {"vlanId", c.m.VLANID}} {
		if f.value == nil {
			continue
		}
		if id, ok := integer(f.value); !ok || !c.rules.VLANs.Contains(id) {
			c.v.add(f.field, text(f.value), rule, "leave it out, or choose an id that the policy allows")
		}
	}
	for _, f := range []struct {
		field string
		raw   json.RawMessage
	}{{"vlanTrunk", c.m.VLANTrunk}, {"trunk", c.m.Trunk}} {
		if isSet(f.raw) && !everyVLAN(c.rules.VLANs) {
			c.v.add(f.field, string(f.raw), rule, "a trunk needs a policy that allows all VLANs: leave it out")
		}
	}
}

func everyVLAN(v config.VLANs) bool {
	for id := 1; id <= 4094; id++ {
		if !v.Contains(id) {
			return false
		}
	}
	return true
}

// vfSettings judges the settings that a VF gets at its PF.
func (c check) vfSettings() {
	if t := text(c.m.Trust); t != "" && t != "off" && !c.rules.TrustOn {
		c.v.add("trust", t, `spec.networks.trust: off`, "leave it out, "+ask)
	}
	if s := text(c.m.SpoofChk); s != "" && s != "on" && !c.rules.SpoofOff {
		c.v.add("spoofchk", s, `spec.networks.spoofchk: on`, "leave it out, "+ask)
	}
	if c.rules.MaxTxRate == nil {
		return
	}
	most := *c.rules.MaxTxRate
	rule := "spec.networks.maxTxRate: " + strconv.Itoa(most)
	if rate, ok := integer(c.m.MinTxRate); c.m.MinTxRate != nil && (!ok || rate > most) {
		c.v.add("min_tx_rate", text(c.m.MinTxRate), rule, fmt.Sprintf("set at most %d Mbit/s, or leave it out", most))
	}
	// 0 is no limit.
	if rate, ok := integer(c.m.MaxTxRate); c.m.MaxTxRate != nil && (!ok || rate > most || rate == 0) {
		c.v.add("max_tx_rate", text(c.m.MaxTxRate), rule, fmt.Sprintf("set 1 to %d Mbit/s, or leave it out", most))
	}
}
