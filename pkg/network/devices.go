package network

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// devicePool hands a pod's devices out to its selections: by resource, in the
// order of the ids, to the selections in their order. It stays the same however
// the kubelet orders its answer.
type devicePool struct {
	all   map[string][]string
	free  map[string][]string
	users map[string][]string // resource → networks that ask for it, for messages
}

func newDevicePool(devices map[string][]string, selections []Selection, definitions map[string]Definition) *devicePool {
	p := &devicePool{all: devices, free: map[string][]string{}, users: map[string][]string{}}
	for resource, ids := range devices {
		sorted := slices.Clone(ids)
		slices.Sort(sorted)
		p.free[resource] = slices.Compact(sorted)
	}
	for _, s := range selections {
		if resource := definitions[s.Network()].Resource; resource != "" {
			p.users[resource] = append(p.users[resource], s.Network())
		}
	}
	return p
}

// take gives the selection its device. fallback is true where the pod has no
// device of the resource at all and the network's own config declares what to do
// then.
func (p *devicePool) take(s Selection, d Definition) (id string, fallback bool, err error) {
	if d.Resource == "" {
		return cmp.Or(s.DeviceID, ownDevice(d)), false, nil
	}
	if free := p.free[d.Resource]; len(free) > 0 {
		p.free[d.Resource] = free[1:]
		return free[0], false, nil
	}
	switch {
	case s.DeviceID != "":
		return s.DeviceID, false, nil
	case configDevice(d) != "":
		return configDevice(d), false, nil
	case len(p.all[d.Resource]) == 0 && declaresFallback(d):
		return "", true, nil
	}
	users := p.users[d.Resource]
	return "", false, fmt.Errorf("network %s: too few devices of resource %s: %d asked for (by %s), %d allocated to the pod by the kubelet; request %s: %d in the pod's container resources",
		s.Network(), d.Resource, len(users), strings.Join(users, ", "), len(p.all[d.Resource]), d.Resource, len(users))
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

// ownDevice is the device of a VF network without a resource: the config's. What
// another plugin's deviceID means, and who may share it, is that plugin's matter.
func ownDevice(d Definition) string {
	if first := d.List.Plugins[0]; first.Type == "sriov" && first.Builtin {
		return configDevice(d)
	}
	return ""
}

// configDevice is the deviceID that the network's own config names, if any.
func configDevice(d Definition) string {
	var conf struct {
		DeviceID string `json:"deviceID"`
	}
	_ = json.Unmarshal(d.List.Plugins[0].Conf, &conf) // a deviceID that is no string is the plugin's to refuse
	return conf.DeviceID
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
