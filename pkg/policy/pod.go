package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/network"
)

// Request has the annotations of a pod, parsed.
type Request struct {
	Namespace  string // of the pod
	Selections []network.Selection
	Default    *network.Selection // replaces the cluster's own network; nil: not asked for
	// DefaultNetworkNamespace is the administrator's namespace of such networks.
	DefaultNetworkNamespace string
}

// CheckPod compares a pod's annotations with the policy of its namespace. It needs no
// net-attach-def: addresses inside the ranges of a network are CheckIPs'.
func (s Set) CheckPod(r Request) error {
	p := s.For(r.Namespace)
	if p == nil {
		return nil
	}
	v := violations{policy: "policy " + p.Name}
	v.object = "annotation " + network.NetworksAnnotation
	if n := len(r.Selections); n > p.Pods.MaxNetworks {
		v.add("networks", strconv.Itoa(n), fmt.Sprintf("spec.pods.maxNetworks: %d", p.Pods.MaxNetworks), "ask for fewer networks")
	}
	for _, selected := range r.Selections {
		v.object = objectOf(network.NetworksAnnotation, selected)
		checkSelection(p.Pods, selected, r.Namespace, p.Pods.NetworksFrom, &v)
	}
	if r.Default != nil {
		v.object = objectOf(network.DefaultNetworkAnnotation, *r.Default)
		if !p.Pods.DefaultNetwork {
			v.add("name", r.Default.Network(), "spec.pods.defaultNetwork: never", "remove the annotation, "+ask)
		}
		from := append(slices.Clone(p.Pods.NetworksFrom), r.DefaultNetworkNamespace)
		checkSelection(p.Pods, *r.Default, r.Namespace, from, &v)
	}
	return v.err()
}

func objectOf(annotation string, s network.Selection) string {
	return fmt.Sprintf("annotation %s, network %d (%s)", annotation, s.Position, s.Network())
}

func checkSelection(rules config.PodRules, s network.Selection, own string, from []string, v *violations) {
	if !mayUseFrom(from, s.Namespace, own) {
		v.add("namespace", s.Namespace, listed("spec.pods.networksFrom", rules.NetworksFrom), "use a net-attach-def of a namespace that the policy allows")
	}
	if rules.IPs == config.IPsNone {
		if asked := addresses(s); len(asked) > 0 {
			v.add("ips", strings.Join(asked, ", "), "spec.pods.ips: none", "leave the address to the network's ipam, "+ask)
		}
	}
	if asked := macs(s); asked != "" && !rules.MAC {
		v.add("mac", asked, "spec.pods.mac: none", "leave the address to the network, "+ask)
	}
	if s.DeviceID != "" && !rules.DeviceID {
		v.add("deviceID", s.DeviceID, "spec.pods.deviceID: never", "request the network's resource in the pod's containers")
	}
	if len(s.PortMappings) > 0 && !rules.PortMappings {
		v.add("portMappings", fmt.Sprintf("host port %d", s.PortMappings[0].HostPort), "spec.pods.portMappings: none", "use a Service, "+ask)
	}
	for _, key := range slices.Sorted(maps.Keys(s.CNIArgs)) {
		if !ipArg(key) && !macArg(key) && !matches(rules.CNIArgs, key) {
			v.add("cni-args", key, listed("spec.pods.cniArgs", rules.CNIArgs), "leave the key out, "+ask)
		}
	}
}

func mayUseFrom(from []string, namespace, own string) bool {
	return namespace == own && slices.Contains(from, config.OwnNamespace) || matches(without(from, config.OwnNamespace), namespace)
}

func without(list []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == word || s == "" })
}

// Plugins find keys of cni-args in any letter case.
func ipArg(key string) bool  { return strings.EqualFold(key, "ip") || strings.EqualFold(key, "ips") }
func macArg(key string) bool { return strings.EqualFold(key, "mac") }

// macs returns the MAC or GUID that a selection asks for, by whatever way.
func macs(s network.Selection) string {
	if s.MAC != "" {
		return s.MAC
	}
	if s.InfinibandGUID != "" {
		return s.InfinibandGUID
	}
	for _, key := range slices.Sorted(maps.Keys(s.CNIArgs)) {
		if macArg(key) {
			return text(s.CNIArgs[key])
		}
	}
	return ""
}
