package cni

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
)

// wanted is one attachment that an ADD is to make.
type wanted struct {
	network.Planned
	kind string // of the built-in attacher; kindExec where a binary makes it
}

// plan finds out which networks the sandbox is to have. The primary is the first.
// It asks, and changes nothing.
func (s *Server) plan(ctx context.Context, c *call) ([]wanted, error) {
	if c.pod.Name == "" { // not a Kubernetes runtime: the primary network alone
		primary, err := s.primary(c)
		return []wanted{primary}, err
	}
	pod, err := s.o.Cluster.Pod(ctx, c.pod.Namespace, c.pod.Name, c.pod.UID)
	if err != nil {
		return nil, step("looking the pod up", types.ErrTryAgainLater, err)
	}
	in, err := s.input(ctx, c, pod)
	if err != nil {
		return nil, err
	}
	planned, err := network.Resolve(in)
	if err != nil {
		return nil, step("planning the networks", types.ErrInvalidNetworkConfig, err)
	}
	var all []wanted
	if in.Default == nil {
		primary, err := s.primary(c)
		if err != nil {
			return nil, err
		}
		all = append(all, primary)
	}
	for _, p := range planned {
		all = append(all, wanted{Planned: p, kind: s.kindOf(p.List.Plugins[0])})
	}
	return all, nil
}

// primary is the cluster's own network. It is always the binary's: its owner's
// daemon works together with just that.
func (s *Server) primary(c *call) (wanted, error) {
	list, err := s.o.Primary.Conf()
	if err != nil {
		return wanted{}, step("finding the primary network", types.ErrTryAgainLater, err)
	}
	list, err = network.ResolvePrimary(list, c.conf.RuntimeConfig)
	if err != nil {
		return wanted{}, step("finding the primary network", types.ErrInvalidNetworkConfig, err)
	}
	return wanted{kind: kindExec, Planned: network.Planned{Primary: true, Network: list.Name, IfName: c.IfName, List: list,
		Capabilities: c.conf.RuntimeConfig, CNIArgs: c.Args}}, nil
}

func (s *Server) kindOf(p network.Plugin) string {
	if p.Builtin {
		if _, ok := s.o.Attachers.For(p.Type); ok {
			return p.Type
		}
	}
	return kindExec
}

// input gathers what planning depends on.
func (s *Server) input(ctx context.Context, c *call, pod network.Pod) (network.Input, error) {
	in := network.Input{Pod: pod, SandboxID: c.ContainerID, PrimaryIfName: c.IfName, CNIArgs: c.Args,
		RuntimeConfig: c.conf.RuntimeConfig, Definitions: map[string]network.Definition{}, DeviceInfoPath: s.devinfo.path}
	var err error
	if in.Selections, err = network.ParseSelections(pod.Annotations[network.NetworksAnnotation], pod.Namespace); err != nil {
		return in, step("reading the pod's annotations", types.ErrInvalidNetworkConfig, err)
	}
	all := in.Selections
	primary, ok, err := network.ParseDefaultNetwork(pod.Annotations[network.DefaultNetworkAnnotation], s.defaultNetworkNamespace(pod.Namespace))
	if err != nil {
		return in, step("reading the pod's annotations", types.ErrInvalidNetworkConfig, err)
	}
	if ok {
		in.Default = &primary
		all = append([]network.Selection{primary}, all...)
	}
	if err := s.checkIsolation(pod.Namespace, in); err != nil {
		return in, err
	}
	needDevices := false
	for _, sel := range all {
		d, err := s.definition(ctx, c, sel)
		if err != nil {
			return in, err
		}
		in.Definitions[sel.Network()] = d
		needDevices = needDevices || d.Resource != ""
	}
	if needDevices {
		if in.Devices, err = s.o.Devices.PodDevices(ctx, pod.Namespace, pod.Name); err != nil {
			return in, step("asking the kubelet for the pod's devices", types.ErrTryAgainLater, err)
		}
	}
	return in, nil
}

// checkIsolation also applies to the network that replaces the primary; the
// namespace that such networks are looked up in is open to all pods for that.
func (s *Server) checkIsolation(namespace string, in network.Input) error {
	if !s.o.NamespaceIsolation {
		return nil
	}
	err := network.CheckIsolation(in.Selections, namespace, s.o.GlobalNamespaces)
	if err == nil && in.Default != nil {
		global := append(slices.Clone(s.o.GlobalNamespaces), s.defaultNetworkNamespace(namespace))
		err = network.CheckIsolation([]network.Selection{*in.Default}, namespace, global)
	}
	if err != nil {
		return step("checking namespace isolation", types.ErrInvalidNetworkConfig, err)
	}
	return nil
}

func (s *Server) defaultNetworkNamespace(podNamespace string) string {
	return cmp.Or(s.o.DefaultNetworkNamespace, podNamespace)
}

// definition finds a net-attach-def and, where its spec is empty, its conf file.
func (s *Server) definition(ctx context.Context, c *call, sel network.Selection) (network.Definition, error) {
	d, err := s.o.Cluster.NetAttachDef(ctx, sel.Namespace, sel.Name)
	if err == nil {
		d, err = d.Load(s.o.Primary.ByName)
	}
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, network.ErrNotFound):
		s.o.Cluster.Event(c.pod, "Warning", "NoNetworkFound", fmt.Sprintf("network %s: %v", sel.Network(), err))
		return d, &stepError{Network: sel.Network(), Step: "looking its net-attach-def up", Code: types.ErrInvalidNetworkConfig,
			Err: fmt.Errorf("%w; create it, or correct the pod's annotation %s", err, network.NetworksAnnotation)}
	}
	return d, &stepError{Network: sel.Network(), Step: "looking its net-attach-def up", Code: types.ErrTryAgainLater, Err: err}
}

// prepare makes the records of what is to be attached. Built-in networks read the
// state that they are going to change; nothing is changed yet.
func (s *Server) prepare(ctx context.Context, c *call, plan []wanted) (ledger.Sandbox, error) {
	sandbox := ledger.Sandbox{ID: c.ContainerID, IfName: c.IfName, Pod: c.pod, Netns: c.Netns, Path: s.cniPath(c), Created: c.at}
	for _, w := range plan {
		a, err := s.prepareOne(ctx, c, w)
		if err != nil {
			return sandbox, &stepError{Network: w.Network, IfName: w.IfName, Step: "preparing", Err: err}
		}
		sandbox.Attachments = append(sandbox.Attachments, a)
	}
	return sandbox, nil
}

func (s *Server) prepareOne(ctx context.Context, c *call, w wanted) (ledger.Attachment, error) {
	var a ledger.Attachment
	if w.kind != kindExec {
		attacher, _ := s.o.Attachers.For(w.kind)
		conf, err := w.List.Stdin(0, nil)
		if err != nil {
			return a, err
		}
		if a, err = attacher.Prepare(ctx, s.request(c, w, conf)); err != nil {
			return a, err
		}
		if len(a.Config) > 0 {
			w.List.Plugins[0].Conf = a.Config // as the attacher has resolved it
		}
	}
	list, err := json.Marshal(w.List)
	if err != nil {
		return a, fmt.Errorf("encoding its config: %w", err)
	}
	if a.Kind == "" {
		a.Kind = w.kind
	}
	a.Network, a.IfName, a.Phase, a.Config, a.CNIArgs = w.Network, w.IfName, ledger.Intent, list, w.CNIArgs
	a.CapabilityArgs, a.Resource, a.DeviceInfo = w.Capabilities, w.Resource, w.DeviceInfo
	if device := pciAddress(w.Device); !device.IsZero() {
		a.Device = device
	}
	return a, nil
}

func (s *Server) request(c *call, w wanted, conf json.RawMessage) AttachRequest {
	r := AttachRequest{SandboxID: c.ContainerID, Netns: c.Netns, IfName: w.IfName, Pod: c.pod, Network: w.Network,
		Config: conf, CNIArgs: w.CNIArgs, Resource: w.Resource, Device: pciAddress(w.Device)}
	if w.Resource != "" && s.o.Uplinks != nil {
		r.Uplinks = s.o.Uplinks(w.Resource)
	}
	return r
}

// pciAddress is a device's address; zero where its id is none (an auxiliary device).
func pciAddress(id string) pci.Address {
	address, err := pci.ParseAddress(id)
	if err != nil {
		return pci.Address{}
	}
	return address
}
