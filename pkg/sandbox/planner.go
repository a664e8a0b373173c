package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// planned is one network that an Attach is to make.
type planned struct {
	network.Planned
	address pci.Address    // of Device; zero: none, or its id is not a PCI address
	hotplug ledger.Hotplug // set if it is added to a running pod
	ignored []string       // parts of the config that the plugins have found to be without effect
}

// planner finds out which networks a sandbox is to have. It asks, and changes nothing.
type planner struct {
	o    Options
	info deviceInfo
}

// plan returns the networks of a sandbox, the primary first, and the fingerprint of the
// annotation that they follow. It takes the sandbox's turn before it looks net-attach-defs up.
func (p planner) plan(ctx context.Context, r Request, t *turn) (all []planned, followed string, err error) {
	if r.Pod.Name == "" { // not a Kubernetes runtime: only the primary network
		primary, err := p.primary(r)
		return []planned{primary}, "", err
	}
	pod, err := p.o.Cluster.Pod(ctx, r.Pod.Namespace, r.Pod.Name, r.Pod.UID)
	if err != nil {
		return nil, "", fail("look up the pod", TryAgain, err)
	}
	if err := p.takeTurnToParse(ctx, pod, t); err != nil {
		return nil, "", err
	}
	in, err := p.input(ctx, r, pod, t)
	if err != nil {
		return nil, "", err
	}
	if in.Default == nil {
		primary, err := p.primary(r)
		if err != nil {
			return nil, "", err
		}
		all = append(all, primary)
	}
	more, err := p.resolve(r, in)
	return append(all, more...), fingerprint(pod), err
}

// resolve plans the networks of an input.
func (p planner) resolve(r Request, in network.Input) ([]planned, error) {
	resolved, err := network.Resolve(in)
	if errors.Is(err, network.ErrNotListed) {
		return nil, fail("plan the networks", TryAgain, err)
	}
	if err != nil {
		return nil, fail("plan the networks", Invalid, err)
	}
	var all []planned
	for _, n := range resolved {
		address, _ := pci.ParseAddress(n.Device)
		if err := p.checkNamed(r.Pod, n); err != nil {
			return nil, err
		}
		all = append(all, planned{Planned: n, address: address})
	}
	return all, nil
}

// primary is the cluster's own network. It is always made by its binaries: its owner's
// daemon works together with just those.
func (p planner) primary(r Request) (planned, error) {
	list, err := p.o.Primary.Conf()
	if err != nil {
		return planned{}, fail("find the primary network", TryAgain, err)
	}
	list, err = network.ResolvePrimary(list, r.Capabilities)
	if err != nil {
		return planned{}, fail("find the primary network", Invalid, err)
	}
	for i := range list.Plugins { // a copy of its own
		list.Plugins[i].Builtin = false
	}
	return planned{Planned: network.Planned{Primary: true, Network: list.Name, IfName: r.IfName, List: list,
		Capabilities: r.Capabilities, CNIArgs: r.Args}}, nil
}

// unknown returns the networks that a sandbox without a record may have: the primary,
// by its conf of today.
func (p planner) unknown(sandbox ledger.Sandbox, offered map[string]any, args string) ([]planned, error) {
	args = argsOf(sandbox, args)
	primary, err := p.primary(Request{IfName: sandbox.IfName, Capabilities: offered, Args: args})
	return []planned{primary}, err
}

// argsOf returns the CNI_ARGS for a sandbox without a record. If the request is long gone,
// they are made from the pod.
func argsOf(sandbox ledger.Sandbox, args string) string {
	if args != "" || sandbox.Pod.Name == "" {
		return args
	}
	return strings.Join([]string{"IgnoreUnknown=1", "K8S_POD_NAMESPACE=" + sandbox.Pod.Namespace, "K8S_POD_NAME=" + sandbox.Pod.Name,
		"K8S_POD_INFRA_CONTAINER_ID=" + sandbox.ID, "K8S_POD_UID=" + sandbox.Pod.UID}, ";")
}

// emptyInput has what planning for any network of a pod depends on.
func (p planner) emptyInput(r Request, pod network.Pod) network.Input {
	in := network.Input{Pod: pod, SandboxID: r.ID, PrimaryIfName: r.IfName, CNIArgs: r.Args,
		RuntimeConfig: r.Capabilities, Definitions: map[string]network.Definition{}, DeviceInfoPath: p.info.path}
	if p.o.Pools != nil {
		in.Pools = p.o.Pools()
	}
	return in
}

// input gathers whatever planning depends on.
func (p planner) input(ctx context.Context, r Request, pod network.Pod, t *turn) (in network.Input, err error) {
	in = p.emptyInput(r, pod)
	if in.Selections, err = network.ParseSelections(pod.Annotations[network.NetworksAnnotation], pod.Namespace); err != nil {
		return in, fail("read the pod's annotations", Invalid, err)
	}
	if !slices.Contains(p.o.SystemNamespaces, pod.Namespace) {
		in.Selections = network.WithDefaults(p.o.DefaultNetworks, p.defaultNetworkNamespace(pod.Namespace), in.Selections)
	}
	all := in.Selections
	primary, ok, err := network.ParseDefaultNetwork(pod.Annotations[network.DefaultNetworkAnnotation], p.defaultNetworkNamespace(pod.Namespace))
	if err != nil {
		return in, fail("read the pod's annotations", Invalid, err)
	}
	if ok {
		in.Default = &primary
		all = append([]network.Selection{primary}, all...)
	}
	if len(all) == 0 {
		return in, nil
	}
	if err := p.checkIsolation(pod.Namespace, in); err != nil {
		return in, err
	}
	if err := t.take(ctx, pod.Namespace, p.cost(all)); err != nil {
		return in, err
	}
	if err := p.loadNetworks(ctx, r, in, all); err != nil {
		return in, err
	}
	in.Devices, err = p.devices(ctx, pod, all, in.Definitions)
	return in, err
}

// more plans networks for a running pod, which holds devices already. all are the
// selections of its annotation: policies limit their number.
func (p planner) more(ctx context.Context, r Request, pod network.Pod, t *turn, all, add []network.Selection, held []pci.Address) ([]planned, error) {
	in := p.emptyInput(r, pod)
	set, err := p.policies()
	if err != nil {
		return nil, err
	}
	in.Selections = all
	if err := p.checkPod(set, in); err != nil {
		return nil, err
	}
	in.Selections = add
	if err := p.checkIsolation(pod.Namespace, in); err != nil {
		return nil, err
	}
	if err := t.take(ctx, pod.Namespace, p.cost(add)); err != nil {
		return nil, err
	}
	if err := p.loadNetworks(ctx, r, in, add); err != nil {
		return nil, err
	}
	if in.Devices, err = p.devices(ctx, pod, add, in.Definitions); err != nil {
		return nil, err
	}
	for resource, ids := range in.Devices {
		in.Devices[resource] = slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
			address, err := pci.ParseAddress(id)
			return err == nil && slices.Contains(held, address)
		})
	}
	plan, err := p.resolve(r, in)
	for i := range plan {
		plan[i].hotplug = ledger.Plugging
	}
	return plan, err
}

// define looks the net-attach-defs up, each one once.
func (p planner) define(ctx context.Context, r Request, all []network.Selection, into map[string]network.Definition) error {
	for _, s := range all {
		if _, known := into[s.Network()]; known {
			continue
		}
		d, err := p.definition(ctx, r, s)
		if err != nil {
			return err
		}
		into[s.Network()] = d
	}
	return nil
}

// devices asks the kubelet only if some network is backed by a resource, or names a device.
func (p planner) devices(ctx context.Context, pod network.Pod, all []network.Selection, definitions map[string]network.Definition) (map[string][]string, error) {
	needed := slices.ContainsFunc(all, func(s network.Selection) bool {
		d := definitions[s.Network()]
		return d.Resource != "" || s.DeviceID != "" || d.NamesDevice()
	})
	if !needed {
		return nil, nil
	}
	devices, err := p.o.Devices.PodDevices(ctx, pod.Namespace, pod.Name)
	if err != nil {
		return nil, fail("ask the kubelet for the pod's devices", TryAgain, err)
	}
	return devices, nil
}

// checkIsolation also applies to the network that replaces the primary; the namespace
// that such networks are looked up in is open to all pods for that purpose.
func (p planner) checkIsolation(namespace string, in network.Input) error {
	if !p.o.NamespaceIsolation {
		return nil
	}
	err := network.CheckIsolation(in.Selections, namespace, p.o.GlobalNamespaces)
	if err == nil && in.Default != nil {
		global := append(slices.Clone(p.o.GlobalNamespaces), p.defaultNetworkNamespace(namespace))
		err = network.CheckIsolation([]network.Selection{*in.Default}, namespace, global)
	}
	if err != nil {
		return fail("check namespace isolation", Invalid, err)
	}
	return nil
}

func (p planner) defaultNetworkNamespace(podNamespace string) string {
	return cmp.Or(p.o.DefaultNetworkNamespace, podNamespace)
}

// definition finds a net-attach-def and, if its spec is empty, its conf file.
func (p planner) definition(ctx context.Context, r Request, s network.Selection) (network.Definition, error) {
	const step = "look up its net-attach-def"
	d, err := p.o.Cluster.NetAttachDef(ctx, s.Namespace, s.Name)
	if err == nil {
		d, err = d.Load(p.o.Primary.ByName)
	}
	switch {
	case err == nil:
		for _, notice := range d.List.Notices {
			p.o.Log.Warn("part of a net-attach-def is ignored", "network", d.Network(), "pod", r.Pod.String(), "notice", notice)
		}
		return d, nil
	case errors.Is(err, network.ErrNotFound):
		p.o.Cluster.Event(r.Pod, "Warning", "NoNetworkFound", fmt.Sprintf("network %s: %v", s.Network(), err))
		return d, &Error{Network: s.Network(), Step: step, Kind: Invalid,
			Err: fmt.Errorf("%w; create it, or correct %s", err, chosenBy(s))}
	}
	return d, &Error{Network: s.Network(), Step: step, Kind: TryAgain, Err: err}
}

// chosenBy names the place that selects a network.
func chosenBy(s network.Selection) string {
	if s.ByDefault {
		return "the agent's --default-networks"
	}
	return "the pod's annotation " + network.NetworksAnnotation
}

// prepareCall makes the Call for the plugins of a network that has no record yet.
func (p planned) prepareCall(sandbox ledger.Sandbox, how programs, uplinks func(string) []string) attach.Call {
	c := attach.Call{SandboxID: sandbox.ID, IfName: p.IfName, Pod: sandbox.Pod, Network: p.Network, Netns: sandbox.Netns,
		CNIArgs: p.CNIArgs, Exec: how.exec, Path: how.path, Resource: p.Resource, Device: p.address, Named: !p.address.IsZero() && !p.Given}
	if p.Resource != "" && uplinks != nil {
		c.Uplinks = uplinks(p.Resource)
	}
	return c
}
