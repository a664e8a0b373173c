package policy

import (
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

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
	v.add("master", strings.Join(names, ", "), listed("spec.networks.uplinks", p.Networks.Uplinks), uplinkRemedy)
	return v.err()
}

// VF is a VF that a pod is to have, and what its network sets of it.
type VF struct {
	Address      string
	Group        string // for messages: "VF group 0 of profile fast"
	Network      string
	PodNamespace string
	Asked        device.Settings
}

// CheckVF compares a VF with the allow of its group, whoever wrote the network.
func CheckVF(allow *config.VFAllow, vf VF) error {
	if allow == nil {
		return nil
	}
	v := violations{policy: vf.Group, object: "network " + vf.Network, member: "VF " + vf.Address}
	if len(allow.Namespaces) > 0 && !matches(allow.Namespaces, vf.PodNamespace) {
		v.add("namespace", vf.PodNamespace, listed("allow.namespaces", allow.Namespaces), "use a resource that is for this namespace, "+askProfile)
	}
	if id := vf.Asked.VLAN; id != nil && len(allow.VLANs) > 0 && !allow.VLANs.Contains(*id) {
		v.add("vlan", fmt.Sprint(*id), "allow.vlans: "+allow.VLANs.String(), "leave it out, or choose an id that the group allows")
	}
	checkOnOff("trust", vf.Asked.Trust, allow.Trust, &v)
	checkOnOff("spoofCheck", vf.Asked.SpoofCheck, allow.SpoofCheck, &v)
	if vf.Asked.MAC != "" && allow.NoMAC {
		v.add("mac", vf.Asked.MAC, "allow.mac: none", "leave the address to the VF, "+askProfile)
	}
	return v.err()
}

const askProfile = "or ask an administrator to change the profile"

func checkOnOff(field string, asked *bool, allowed []bool, v *violations) {
	if asked == nil || len(allowed) == 0 || slices.Contains(allowed, *asked) {
		return
	}
	v.add(field, onOff(*asked), "allow."+field+": "+onOff(!*asked), "leave it out, "+askProfile)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
