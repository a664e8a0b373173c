package policy

import (
	"fmt"
	"slices"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/device"
)

// VFRequest is a VF that a pod is to have, and what its network sets of it.
type VFRequest struct {
	Address      string
	Group        string // for messages: "VF group 0 of profile fast"
	Network      string
	PodNamespace string
	Asked        device.Settings
}

// CheckVF compares a VF with the allow of its group, whoever wrote the network.
func CheckVF(allow *config.VFAllow, vf VFRequest) error {
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
	v.add(field, device.OnOff(*asked), "allow."+field+": "+device.OnOff(!*asked), "leave it out, "+askProfile)
}
