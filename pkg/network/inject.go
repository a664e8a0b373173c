package network

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// resolve writes everything that depends on the pod into the config list.
func (p *Planned) resolve(in Input, d Definition) error {
	if p.Device != "" && in.DeviceInfoPath != nil {
		p.DeviceInfo = in.DeviceInfoPath(DeviceInfoFileName(d.Namespace, d.Name, in.SandboxID, p.IfName))
	}
	p.CNIArgs = cniArgs(in.CNIArgs, p.Selection)
	p.Capabilities = capabilities(p.Selection, cmp.Or(p.Device, p.Selection.DeviceID), p.DeviceInfo)
	if p.Primary {
		// The annotation's values take precedence over those that the runtime passed.
		merged := map[string]any{}
		maps.Copy(merged, in.RuntimeConfig)
		maps.Copy(merged, p.Capabilities)
		p.Capabilities = merged
	}
	given := ""
	if p.Given {
		given = p.Device // a device that is only named reaches plugins as the capability deviceID
	}
	list, err := resolveList(d.List, given, args(p.Selection), p.Capabilities)
	p.List = list
	return err
}

// ResolvePrimary is resolve for the cluster's own network: it gets the capabilities that the
// runtime passed, and nothing from an annotation.
func ResolvePrimary(list ConfList, runtimeConfig map[string]any) (ConfList, error) {
	return resolveList(list, "", nil, runtimeConfig)
}

// cniArgs adds the values that plugins without capabilities read from CNI_ARGS.
func cniArgs(base string, s Selection) string {
	var parts []string
	if base != "" {
		parts = append(parts, base)
	}
	if !slices.Contains(strings.Split(base, ";"), "IgnoreUnknown=1") {
		parts = append(parts, "IgnoreUnknown=1") // without it, plugins that do not know K8S_POD_… reject all arguments
	}
	if len(s.IPs) > 0 {
		parts = append(parts, "IP="+strings.Join(s.IPs, ","))
	}
	if s.MAC != "" {
		parts = append(parts, "MAC="+s.MAC)
	}
	return strings.Join(parts, ";")
}

// capabilities returns the runtimeConfig on offer. A plugin gets the capabilities that it
// declares.
func capabilities(s Selection, device, deviceInfo string) map[string]any {
	c := map[string]any{}
	if len(s.IPs) > 0 {
		c["ips"] = s.IPs
	}
	if s.MAC != "" {
		c["mac"] = s.MAC
	}
	if s.InfinibandGUID != "" {
		c["infinibandGUID"] = s.InfinibandGUID
	}
	if s.Bandwidth != nil {
		c["bandwidth"] = s.Bandwidth
	}
	if len(s.PortMappings) > 0 {
		c["portMappings"] = s.PortMappings
	}
	if device != "" {
		c["deviceID"] = device
	}
	if deviceInfo != "" {
		c["CNIDeviceInfoFile"] = deviceInfo
	}
	return c
}

// args returns the keys for args.cni of every member. An IPAM claim is among them: it has no
// capability of its own.
func args(s Selection) map[string]any {
	a := maps.Clone(s.CNIArgs)
	if s.IPAMClaim != "" {
		if a == nil {
			a = map[string]any{}
		}
		a["ipam-claim-reference"] = s.IPAMClaim
	}
	return a
}

func resolveList(list ConfList, device string, cniArgs, offered map[string]any) (ConfList, error) {
	resolved := list
	resolved.Plugins = slices.Clone(list.Plugins)
	for i := range resolved.Plugins {
		p := &resolved.Plugins[i]
		add := map[string]any{}
		if device != "" {
			// Both names are in use, and every member gets them: rdma needs one too.
			add["deviceID"], add["pciBusID"] = device, device
		}
		if err := addArgs(add, p.Conf, cniArgs); err != nil {
			return resolved, fmt.Errorf("plugin %s: %w", p.Type, err)
		}
		if declared := declaredPart(p.Capabilities, offered); len(declared) > 0 {
			add["runtimeConfig"] = declared
		}
		conf, err := mergeInto(p.Conf, add)
		if err != nil {
			return resolved, err
		}
		p.Conf = conf
	}
	return resolved, nil
}

// addArgs merges add into args.cni; other parts of args stay.
func addArgs(add map[string]any, conf json.RawMessage, cniArgs map[string]any) error {
	if len(cniArgs) == 0 {
		return nil
	}
	var have struct {
		Args map[string]json.RawMessage `json:"args"`
	}
	if err := json.Unmarshal(conf, &have); err != nil {
		return fmt.Errorf("field args is not an object: %w", err)
	}
	if have.Args == nil {
		have.Args = map[string]json.RawMessage{}
	}
	merged, err := mergeInto(orEmpty(have.Args["cni"]), cniArgs)
	if err != nil {
		return fmt.Errorf("field args.cni is not an object: %w", err)
	}
	have.Args["cni"] = merged
	add["args"] = have.Args
	return nil
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage(`{}`)
	}
	return raw
}

func declaredPart(declared map[string]bool, offered map[string]any) map[string]any {
	capabilities := map[string]any{}
	for name, isDeclared := range declared {
		if value, ok := offered[name]; isDeclared && ok {
			capabilities[name] = value
		}
	}
	return capabilities
}
