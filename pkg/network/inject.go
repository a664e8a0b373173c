package network

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/quote"
)

// resolve writes everything that depends on the pod into the config list.
func (p *Planned) resolve(in Input, d Definition) error {
	if p.Device != "" && in.DeviceInfoPath != nil {
		p.DeviceInfo = in.DeviceInfoPath(DeviceInfoFileName(d.Namespace, d.Name, in.SandboxID, p.IfName))
	}
	p.CNIArgs = cniArgs(in.CNIArgs, p.Selection)
	p.Capabilities = capabilities(p.Selection, cmp.Or(p.Device, p.Selection.DeviceID), p.DeviceInfo)
	if p.Primary {
		// The annotation's values win over the runtime's.
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

// capabilities is the runtimeConfig on offer. A plugin gets the part that it declares.
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

// args returns the values for args.cni of every member. An IPAM claim goes the same
// way: it has no capability of its own.
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

// resolveList gives each member the device, the pod's args, and the offered capabilities
// that it declares. It decodes args that the config has itself, and nothing else.
func resolveList(list ConfList, device string, cniArgs, offered map[string]any) (ConfList, error) {
	args, err := encodeObject(cniArgs)
	if err != nil {
		return list, fmt.Errorf("encode the pod's cni-args: %w", err)
	}
	capabilities, err := encodeObject(offered)
	if err != nil {
		return list, fmt.Errorf("encode the capabilities: %w", err)
	}
	resolved := list
	resolved.Plugins = slices.Clone(list.Plugins)
	for i := range resolved.Plugins {
		p := &resolved.Plugins[i]
		add := Object{}
		if device != "" {
			// Both names are in use, and not by the first plugin only: rdma needs one too.
			add["deviceID"], add["pciBusID"] = encodeString(device), encodeString(device)
		}
		if err := addArgs(add, p.Fields, args); err != nil {
			return resolved, fmt.Errorf("plugin %s: %w", p.Type, err)
		}
		if declared := p.declared(capabilities); len(declared) > 0 {
			add["runtimeConfig"] = declared.JSON()
		}
		p.Fields = p.Fields.With(add)
	}
	return resolved, nil
}

// addArgs merges into args.cni; other parts of args stay.
func addArgs(add, conf, cniArgs Object) error {
	if len(cniArgs) == 0 {
		return nil
	}
	args, err := parseOptional(conf.Get("args"))
	if err != nil {
		return fmt.Errorf("field args is not an object: %s", quote.Message(err))
	}
	cni, err := parseOptional(args.Get("cni"))
	if err != nil {
		return fmt.Errorf("field args.cni is not an object: %s", quote.Message(err))
	}
	add["args"] = args.With(Object{"cni": cni.With(cniArgs).JSON()}).JSON()
	return nil
}

func parseOptional(text json.RawMessage) (Object, error) {
	if text == nil {
		return nil, nil
	}
	o, err := ParseObject(text)
	if err != nil {
		return nil, fmt.Errorf("reading a plugin's config: %w", err)
	}
	return o, nil
}

// declared returns the capabilities that the plugin asks for.
func (p Plugin) declared(offered Object) Object {
	asked := Object{}
	for name, wanted := range p.Capabilities {
		if value, ok := offered[name]; wanted && ok {
			asked[name] = value
		}
	}
	return asked
}
