package network

import (
	"cmp"
	"encoding/json"
	"slices"

	"fairlead.dev/fairlead/pkg/pci"
)

// devicePool hands a pod's devices out to its selections: by resource, in the
// order of the ids, to the selections in their order. It stays the same however
// the kubelet orders its answer.
type devicePool struct {
	all   map[string][]string
	free  map[string][]string
	users map[string][]string // resource → networks that ask for it, for messages
	pools []string            // resources that this node has, likewise
}

func newDevicePool(in Input, selections []Selection) *devicePool {
	p := &devicePool{all: in.Devices, free: map[string][]string{}, users: map[string][]string{}, pools: in.Pools}
	for resource, ids := range in.Devices {
		sorted := slices.Clone(ids)
		slices.Sort(sorted)
		p.free[resource] = slices.Compact(sorted)
	}
	for _, s := range selections {
		if resource := in.Definitions[s.Network()].Resource; resource != "" {
			p.users[resource] = append(p.users[resource], s.Network())
		}
	}
	return p
}

// take gives the selection its device, and says whether the kubelet gave it to the
// pod. fallback is true if the pod has no device of the resource at all and the
// network's own config declares what to do then.
func (p *devicePool) take(s Selection, d Definition) (id string, given, fallback bool, err error) {
	if d.Resource == "" {
		id := namedDevice(s, d)
		if id == "" && needsDevice(d) && !declaresFallback(d) {
			return "", false, false, p.noResource(s)
		}
		return id, id != "" && p.given(id), false, nil
	}
	if free := p.free[d.Resource]; len(free) > 0 {
		p.free[d.Resource] = free[1:]
		return free[0], true, false, nil
	}
	if id := cmp.Or(configDevice(d), s.DeviceID); id != "" {
		return id, p.given(id), false, nil
	}
	if fallback := declaresFallback(d); len(p.all[d.Resource]) == 0 && (fallback || !needsDevice(d)) {
		return "", false, fallback, nil
	}
	return "", false, false, p.tooFew(s, d.Resource)
}

// given reports a device that the kubelet gave to the pod.
func (p *devicePool) given(device string) bool {
	for _, ids := range p.all {
		if slices.Contains(ids, device) {
			return true
		}
	}
	return false
}

// namedDevice is the device of a network without a resource. A config that names
// one has the last word: a pod's annotation never replaces it. What the deviceID of
// a plugin other than sriov means is that plugin's matter.
func namedDevice(s Selection, d Definition) string {
	first := d.List.Plugins[0]
	switch configured := configDevice(d); {
	case configured == "":
		return s.DeviceID
	case first.Type == "sriov" && first.Builtin:
		return configured
	}
	return ""
}

// configDevice is the deviceID that the network's own config names, if any, in the
// canonical form if it is a PCI address.
func configDevice(d Definition) string {
	conf := deviceKeys(d.List.Plugins[0].Conf)
	return canonicalDevice(cmp.Or(conf.DeviceID, conf.PCIBusID, conf.Runtime.DeviceID))
}

type deviceConf struct {
	DeviceID string `json:"deviceID"`
	PCIBusID string `json:"pciBusID"`
	Runtime  struct {
		DeviceID string `json:"deviceID"`
	} `json:"runtimeConfig"` // that an author wrote by hand: plugins read it like ours
}

func deviceKeys(raw json.RawMessage) deviceConf {
	var conf deviceConf
	_ = json.Unmarshal(raw, &conf) // a value that is no string is the plugin's to refuse
	return conf
}

func canonicalDevice(id string) string {
	if address, err := pci.ParseAddress(id); err == nil {
		return address.String()
	}
	return id
}

// NamedDevice is a device that somebody names without the kubelet having given it to
// the pod.
type NamedDevice struct {
	Address pci.Address
	Member  int    // whose config names it, counted from 0; -1: the pod's annotation
	By      string // for messages: "deviceID of the pod's annotation"
	BusID   bool   // by pciBusID, which has no meaning to Fairlead: it is for a plugin's binary
}

// NamesDevice reports a member that names a PCI device in its config.
func (d Definition) NamesDevice() bool {
	return len((&devicePool{}).named(Selection{}, d)) > 0
}

// named lists the devices that the selection or the network's config names and that
// the kubelet did not give to the pod. If it gave one, no member sees another.
func (p *devicePool) named(s Selection, d Definition) []NamedDevice {
	var all []NamedDevice
	add := func(id string, n NamedDevice) {
		address, err := pci.ParseAddress(id)
		if err == nil && !p.given(address.String()) {
			n.Address = address
			all = append(all, n)
		}
	}
	for i, plugin := range d.List.Plugins {
		conf := deviceKeys(plugin.Conf)
		add(conf.DeviceID, NamedDevice{Member: i, By: "deviceID of plugin " + plugin.Type + " in the net-attach-def"})
		add(conf.Runtime.DeviceID, NamedDevice{Member: i, By: "runtimeConfig.deviceID of plugin " + plugin.Type + " in the net-attach-def"})
		add(conf.PCIBusID, NamedDevice{Member: i, By: "pciBusID of plugin " + plugin.Type + " in the net-attach-def", BusID: plugin.Type != "sriov"})
	}
	add(s.DeviceID, NamedDevice{Member: -1, By: "deviceID of the pod's annotation"})
	return all
}

// declaresFallback reports a built-in sriov network with a non-empty "fallback".
// Its values are checked by the attacher, which can make them.
func declaresFallback(d Definition) bool {
	first := d.List.Plugins[0]
	if first.Type != "sriov" || !first.Builtin {
		return false
	}
	var conf struct {
		Fallback []json.RawMessage `json:"fallback"`
	}
	return json.Unmarshal(first.Conf, &conf) == nil && len(conf.Fallback) > 0
}
