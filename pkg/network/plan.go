package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Planned is one attachment to make.
type Planned struct {
	Selection  Selection
	Primary    bool   // it replaces the cluster's own network
	Network    string // namespace/name
	IfName     string
	Resource   string
	Device     string        // id of its device; empty: no device
	Given      bool          // the kubelet gave Device to the pod
	Named      []NamedDevice // other devices that it names: policy decides whether it may have them
	List       ConfList
	Fallback   bool // a device was requested, the pod has no such device, and the network declares a fallback
	DeviceInfo string
	// Capabilities is the runtimeConfig that was offered. Each member of List already has the
	// part that it declares.
	Capabilities map[string]any
	CNIArgs      string
	DefaultRoute []netip.Addr
}

// Input is everything that a plan depends on.
type Input struct {
	Pod            Pod
	SandboxID      string
	PrimaryIfName  string
	CNIArgs        string         // from the runtime: K8S_POD_NAMESPACE=…;…
	RuntimeConfig  map[string]any // capabilities that the runtime passed, for a primary network
	Default        *Selection     // replaces the cluster's own network; nil for most pods
	Selections     []Selection
	Definitions    map[string]Definition // by namespace/name, loaded
	Devices        map[string][]string   // resource → ids of the pod's devices
	Pools          []string              // resources that this node's pools have, for messages
	DeviceInfoPath func(fileName string) string
}

// Resolve gives each selection its interface name, its device and its resolved
// config: a default network first, then the others in the order of the
// annotation. The same input always gives the same plan: a pod's sandbox that is
// made again finds its devices on the same networks.
func Resolve(in Input) ([]Planned, error) {
	names, err := interfaceNames(in)
	if err != nil {
		return nil, err
	}
	all := in.Selections
	if in.Default != nil {
		all = append([]Selection{*in.Default}, all...)
		names = append([]string{in.PrimaryIfName}, names...)
	}
	for _, s := range all {
		if d, ok := in.Definitions[s.Network()]; !ok || len(d.List.Plugins) == 0 {
			return nil, fmt.Errorf("network %s: its net-attach-def was not loaded: %w", s.Network(), ErrNotFound)
		}
	}
	if err := checkPodConfigs(all, in.Definitions); err != nil {
		return nil, err
	}
	pool := newDevicePool(in, all)
	var plan []Planned
	for i, s := range all {
		d := in.Definitions[s.Network()]
		p := Planned{Selection: s, Network: d.Network(), IfName: names[i], Resource: d.Resource, DefaultRoute: s.DefaultRoute}
		p.Primary = in.Default != nil && i == 0
		if p.Device, p.Given, p.Fallback, err = pool.take(s, d); err != nil {
			return nil, err
		}
		if !p.Given {
			p.Named = pool.named(s, d)
		}
		if err := p.resolve(in, d); err != nil {
			return nil, fmt.Errorf("network %s (interface %s): %w", p.Network, p.IfName, err)
		}
		plan = append(plan, p)
	}
	return plan, nil
}

// interfaceNames numbers the selections net1, net2, …. If a selection has its own name, its
// number stays unused.
func interfaceNames(in Input) ([]string, error) {
	taken := map[string]string{in.PrimaryIfName: "the primary network", "lo": "the loopback device"}
	names := make([]string, len(in.Selections))
	for i, s := range in.Selections {
		names[i] = s.Interface
		if names[i] == "" {
			names[i] = fmt.Sprintf("net%d", i+1)
		}
		if by, clash := taken[names[i]]; clash {
			return nil, &SelectionError{Annotation: NetworksAnnotation, Position: s.Position, Field: "interface",
				Reason: fmt.Sprintf("%q of network %s is already the interface of %s", names[i], s.Network(), by),
				Remedy: "choose another name (without one, the i-th network gets net<i>)"}
		}
		taken[names[i]] = fmt.Sprintf("network %d, %s", s.Position, s.Network())
		if s.ByDefault {
			taken[names[i]] = "default network " + s.Network()
		}
	}
	return names, nil
}

// CheckIsolation enforces namespace isolation: a pod may use only net-attach-defs of its own
// namespace and of the global ones. Default networks are the administrator's choice.
func CheckIsolation(selections []Selection, podNamespace string, global []string) error {
	for _, s := range selections {
		if !s.ByDefault && s.Namespace != podNamespace && !slices.Contains(global, s.Namespace) {
			remedy := "use one of the pod's own namespace " + podNamespace
			if len(global) > 0 {
				remedy += " or of " + strings.Join(global, ", ")
			}
			return fmt.Errorf("network %s is in another namespace, and namespace isolation is on; %s", s.Network(), remedy)
		}
	}
	return nil
}
