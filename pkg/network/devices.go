package network

import (
	"cmp"
	"encoding/json"
	"slices"

	"fairlead.dev/fairlead/pkg/pci"
)

// devicePool hands a pod's devices out to its selections: by resource, in the order of the
// containers that have them, to the selections in their order. So the first network gets the
// first container's device. The kubelet lists containers as the pod's spec does.
type devicePool struct {
	all      map[string][]string
	free     map[string][]string
	users    map[string][]string // resource → networks that request it, for messages
	pools    []string            // resources that this node has, likewise
	requests []Request           // of the pod's containers
}

func newDevicePool(in Input, selections []Selection) *devicePool {
	p := &devicePool{all: in.Devices, free: map[string][]string{}, users: map[string][]string{}, pools: in.Pools, requests: in.Pod.Requests}
	for resource, ids := range in.Devices {
		p.free[resource] = once(ids)
	}
	for _, s := range selections {
		if resource := in.Definitions[s.Network()].Resource; resource != "" {
			p.users[resource] = append(p.users[resource], s.Network())
		}
	}
	return p
}

// once drops repeated ids.
func once(ids []string) []string {
	var kept []string
	for _, id := range ids {
		if !slices.Contains(kept, id) {
			kept = append(kept, id)
		}
	}
	return kept
}

// take returns the selection's device, and whether the kubelet gave it to the pod. fallback is
// true if the pod has no device of the resource and the network's own config declares a
// fallback.
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
	switch fallback := declaresFallback(d); {
	case len(p.all[d.Resource]) > 0:
	case !needsDevice(d):
		return "", false, false, nil
	case p.requested(d.Resource):
		return "", false, false, p.notListed(s, d.Resource)
	case fallback:
		return "", false, true, nil
	}
	return "", false, false, p.tooFew(s, d.Resource)
}

// given reports whether the kubelet gave a device to the pod.
func (p *devicePool) given(device string) bool {
	for _, ids := range p.all {
		if slices.Contains(ids, device) {
			return true
		}
	}
	return false
}

// namedDevice returns the device of a network without a resource. A config that names a device
// takes precedence: a pod's annotation never replaces it. For plugins other than sriov,
// deviceID means whatever the plugin says.
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

// configDevice returns the deviceID in the network's own config, or "". A PCI address has its
// canonical form.
func configDevice(d Definition) string {
	conf := d.List.Plugins[0].names
	return canonicalDevice(cmp.Or(conf.DeviceID, conf.PCIBusID, conf.Runtime.DeviceID))
}

type deviceConf struct {
	DeviceID string `json:"deviceID"`
	PCIBusID string `json:"pciBusID"`
	Runtime  struct {
		DeviceID string `json:"deviceID"`
	} `json:"runtimeConfig"` // written by hand by the author: plugins read it like ours
}

func deviceKeys(config Object) deviceConf {
	var conf deviceConf
	if named := config.Only("deviceID", "pciBusID", "runtimeConfig"); len(named) > 0 {
		_ = json.Unmarshal(named.JSON(), &conf) // a value that is no string is the plugin's to refuse
	}
	return conf
}

func canonicalDevice(id string) string {
	if address, err := pci.ParseAddress(id); err == nil {
		return address.String()
	}
	return id
}

// NamedDevice is a device that a pod or a network names although the kubelet has not given it
// to the pod.
type NamedDevice struct {
	Address pci.Address
	Member  int    // index of the member whose config names it; -1: the pod's annotation
	By      string // for messages: "deviceID of the pod's annotation"
	BusID   bool   // named by pciBusID, which means nothing to Fairlead: it is for a plugin's binary
}

// NamesDevice reports whether a member names a PCI device in its config.
func (d Definition) NamesDevice() bool {
	return len((&devicePool{}).named(Selection{}, d)) > 0
}

// named lists the devices that the selection or the network's config names although the kubelet
// did not give them to the pod. If the kubelet gave it a device, no member sees another one.
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
		conf := plugin.names
		add(conf.DeviceID, NamedDevice{Member: i, By: "deviceID of plugin " + plugin.Type + " in the net-attach-def"})
		add(conf.Runtime.DeviceID, NamedDevice{Member: i, By: "runtimeConfig.deviceID of plugin " + plugin.Type + " in the net-attach-def"})
		add(conf.PCIBusID, NamedDevice{Member: i, By: "pciBusID of plugin " + plugin.Type + " in the net-attach-def", BusID: plugin.Type != "sriov"})
	}
	add(s.DeviceID, NamedDevice{Member: -1, By: "deviceID of the pod's annotation"})
	return all
}

// declaresFallback reports a built-in sriov network with a non-empty "fallback".
func declaresFallback(d Definition) bool {
	first := d.List.Plugins[0]
	return first.Type == "sriov" && first.Builtin && first.fallback
}

// hasFallback reports a list that is not empty. Its values are checked by the attacher,
// which can make them.
func hasFallback(config Object) bool {
	var kinds []json.RawMessage
	declared := config.Get("fallback")
	return declared != nil && json.Unmarshal(declared, &kinds) == nil && len(kinds) > 0
}
