package policy

import (
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/network"
)

// CheckFloors judges a network by the rules that hold on every node, with or without a
// policy. It sees the config only: pkg/attach compares it with the node.
func CheckFloors(d network.Definition) error {
	v := violations{policy: "every node", object: "net-attach-def " + d.Network()}
	for i, plugin := range d.List.Plugins {
		m, err := readMember(plugin)
		v.member = m.name(i, len(d.List.Plugins))
		if err != nil {
			continue // its plugin refuses it
		}
		inPod, _ := m.LinkInContainer.(bool)
		if m.Type == "macvlan" && text(m.Mode) == "passthru" && text(m.Master) == "" && !inPod {
			v.add("mode", "passthru", "without a master it would take the default route's interface from the host", "set master to an interface that the host does not use")
		}
		if master := text(m.Master); master == "lo" && !inPod {
			v.add("master", master, "the loopback interface is no uplink", "name a NIC")
		}
	}
	return v.err()
}

// UsesHostLocal reports a network whose addresses host-local hands out.
func UsesHostLocal(d network.Definition) bool {
	for _, plugin := range d.List.Plugins {
		if m, err := readMember(plugin); err == nil && m.ipam.Type == "host-local" {
			return true
		}
	}
	return false
}

// AskedOfVF returns the settings of a VF that a policy may limit, as far as the network's
// config has them in a valid form.
func AskedOfVF(d network.Definition) device.Settings {
	var asked device.Settings
	for _, plugin := range d.List.Plugins {
		m, err := readMember(plugin)
		if err != nil || m.Type != "sriov" {
			continue
		}
		if id, ok := integer(m.VLAN); ok {
			asked.VLAN = &id
		}
		asked.Trust, asked.SpoofCheck = isOn(m.Trust), isOn(m.SpoofChk)
		if mac := text(m.MAC); mac != "" {
			asked.MAC = mac
		}
	}
	return asked
}

func isOn(value any) *bool {
	switch text(value) {
	case "on", "off":
		on := value == any("on")
		return &on
	}
	return nil
}
