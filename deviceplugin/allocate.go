package deviceplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
)

// allocator answers requests for VFs of one resource.
type allocator struct {
	resource string
	opts     *Options
	suspects *suspects
}

// allocate answers a request for all of its containers, or refuses it. Every grant is in
// the ledger before the kubelet gets the answer.
func (a allocator) allocate(ctx context.Context, device func(id string) (Device, bool), requests []*v1beta1.ContainerAllocateRequest) (*v1beta1.AllocateResponse, error) {
	devices, err := a.find(device, requests)
	if err != nil {
		return nil, err
	}
	view, release, err := a.guard(ctx, devices)
	if err != nil {
		return nil, err
	}
	defer release()
	resp := &v1beta1.AllocateResponse{}
	var grants []grant
	for range requests {
		resp.ContainerResponses = append(resp.ContainerResponses, &v1beta1.ContainerAllocateResponse{})
	}
	for i, ofContainer := range devices {
		first := len(grants)
		for _, d := range ofContainer {
			g, err := a.grant(view, d)
			if err != nil {
				return nil, err
			}
			grants = append(grants, g)
		}
		if err := a.fill(resp.ContainerResponses[i], grants[first:]); err != nil {
			return nil, err
		}
	}
	if err := a.record(grants); err != nil {
		return nil, err
	}
	return resp, nil
}

// find looks up the devices of each container. It accepts a VF that a profile is about to
// change, because the kubelet may not have received the new list yet.
func (a allocator) find(device func(id string) (Device, bool), requests []*v1beta1.ContainerAllocateRequest) ([][]Device, error) {
	devices := make([][]Device, len(requests))
	for i, req := range requests {
		for _, id := range req.DevicesIds {
			d, ok := device(id)
			if !ok {
				return nil, a.status(codes.NotFound, id, "it is not among the devices of this resource on this node")
			}
			if !d.Healthy() && d.Reason != beingChanged {
				return nil, a.status(codes.FailedPrecondition, id, d.Reason)
			}
			devices[i] = append(devices[i], d)
		}
	}
	return devices, nil
}

// guard locks the devices until their allocation is on record.
func (a allocator) guard(ctx context.Context, devices [][]Device) (*custody.View, func(), error) {
	all := slices.Concat(devices...)
	vfs := make([]pci.Address, len(all))
	for i, d := range all {
		vfs[i] = d.VF.Address
	}
	view, release, err := a.opts.Custody.Guard(ctx, vfs...)
	if err == nil {
		return view, release, nil
	}
	return nil, nil, a.refuseUnguarded(all, err)
}

// refuseUnguarded blames the first device that is unfit: it may have vanished, and the
// others may be fit. If all are fit, the first one stands for them.
func (a allocator) refuseUnguarded(devices []Device, cause error) error {
	for _, d := range devices {
		if _, code, reason := a.opts.inspect(d, (*Device).unfit); reason != "" {
			return a.refuse(code, d.VF.Address, suspicion{reason: reason})
		}
	}
	if len(devices) == 0 {
		return status.Errorf(codes.Unavailable, "allocate no devices of %s: %v", a.resource, cause)
	}
	return a.refuse(codes.Unavailable, devices[0].VF.Address, suspicion{reason: unknownUsers(cause)})
}

func unknownUsers(err error) string { return fmt.Sprintf("it is not known who uses it: %v", err) }

// grant is one VF as a container gets it.
type grant struct {
	device Device
	info   deviceInfo
	nodes  []string // device nodes
}

// deviceInfo describes a VF in PCIDEVICE_…_INFO.
type deviceInfo struct {
	Generic map[string]string `json:"generic"`
	VFIO    map[string]string `json:"vfio,omitempty"`
	UIO     map[string]string `json:"uio,omitempty"`
	RDMA    map[string]string `json:"rdma,omitempty"`
	Vhost   map[string]string `json:"vhost,omitempty"`
	Extra   map[string]string `json:"extra,omitempty"`
}

// grant reads a device and its users again: the latest events may not have arrived yet.
func (a allocator) grant(view *custody.View, d Device) (grant, error) {
	vf := d.VF.Address
	d, code, reason := a.opts.inspect(d, (*Device).unfit)
	if use, isUsed := view.ToAllocate(vf, a.resource); isUsed && reason == "" {
		code, reason = codes.FailedPrecondition, used(view, vf, a.resource)
		if use.Kind == custody.Change {
			code = codes.Unavailable
		}
	}
	if reason != "" {
		return grant{}, a.refuse(code, vf, suspicion{reason: reason})
	}
	g := grant{device: d, info: deviceInfo{Generic: map[string]string{"deviceID": vf.String()}, Extra: extra(d)}}
	if reason := a.addNodes(&g); reason != "" {
		return grant{}, a.refuse(codes.FailedPrecondition, vf, suspicion{reason: reason})
	}
	return g, nil
}

// refuse makes a VF Unhealthy for the reason of its refusal.
func (a allocator) refuse(code codes.Code, vf pci.Address, why suspicion) error {
	a.suspects.add(vf, why)
	return a.status(code, vf.String(), why.reason)
}

func (a allocator) status(code codes.Code, id, why string) error {
	return status.Errorf(code, "allocate device %s of %s: %s", id, a.resource, why)
}

func extra(d Device) map[string]string {
	merged := map[string]string{}
	for _, from := range []string{"*", d.VF.Address.String()} {
		for k, v := range d.Config.AdditionalInfo[from] {
			merged[k] = v
		}
	}
	return merged
}

// addNodes adds the device nodes. It returns a reason if the VF's RDMA device is still in
// a pod and has no node here. For any other VF that is fit, the reason is empty.
func (a allocator) addNodes(g *grant) (reason string) {
	vf := &g.device.VF
	switch {
	case vf.VFIO():
		g.info.VFIO = map[string]string{"mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/" + vf.VFIOGroup}
		g.nodes = append(g.nodes, "/dev/vfio/vfio", "/dev/vfio/"+vf.VFIOGroup)
	case vf.Userspace():
		g.info.UIO = map[string]string{"mount": "/dev/" + vf.UIO}
		g.nodes = append(g.nodes, "/dev/"+vf.UIO)
	}
	if g.device.Selector.RDMA {
		a.addRDMA(g)
		if g.info.RDMA["uverbs"] == "" {
			return "its RDMA device has no uverbs node here: it may still be in a pod's namespace"
		}
	}
	if g.device.Config.NeedVhostNet {
		a.addVhost(g)
	}
	return ""
}

// addRDMA sorts a VF's character devices by kind: uverbs3, umad3, issm3, rdma_cm.
func (a allocator) addRDMA(g *grant) {
	var nodes []string
	for _, name := range g.device.VF.Verbs {
		nodes = append(nodes, "/dev/infiniband/"+name)
	}
	for _, name := range g.device.VF.RDMADevices {
		nodes = append(nodes, a.opts.RDMANodes(name)...)
	}
	g.info.RDMA = map[string]string{}
	for _, node := range nodes {
		g.info.RDMA[strings.TrimRight(path.Base(node), "0123456789")] = node
	}
	g.nodes = append(g.nodes, nodes...)
}

// vhostNet and tun are the nodes that a DPDK program needs for a virtio-user port.
const vhostNet, tun = "/dev/vhost-net", "/dev/net/tun"

// addVhost adds only nodes that the host has: the runtime does not start a container with
// a missing device.
func (a allocator) addVhost(g *grant) {
	g.info.Vhost = map[string]string{}
	for _, n := range []struct{ key, node string }{{"net-mount", vhostNet}, {"tun-mount", tun}} {
		if a.opts.hasNode(n.node) {
			g.info.Vhost[n.key] = n.node
			g.nodes = append(g.nodes, n.node)
		}
	}
}

// fill writes a container's response, in the kubelet's order of devices.
func (a allocator) fill(resp *v1beta1.ContainerAllocateResponse, grants []grant) error {
	var ids []string
	infos := map[string]deviceInfo{}
	seen := map[string]bool{}
	for _, g := range grants {
		id := g.device.VF.Address.String()
		ids = append(ids, id)
		infos[id] = g.info
		for _, node := range g.nodes {
			if seen[node] { // /dev/vfio/vfio, or a group that several VFs share
				continue
			}
			seen[node] = true
			resp.Devices = append(resp.Devices, &v1beta1.DeviceSpec{ContainerPath: node, HostPath: node, Permissions: "rw"})
		}
	}
	info, err := json.Marshal(infos)
	if err != nil {
		return status.Errorf(codes.Internal, "encode the device information of %s: %v", a.resource, err)
	}
	env := EnvName(a.resource)
	resp.Envs = map[string]string{env: strings.Join(ids, ","), env + "_INFO": string(info)}
	return nil
}

// EnvName returns the name of the environment variable with a container's devices of a
// resource: PCIDEVICE_FAIRLEAD_DEV_FAST for fairlead.dev/fast.
func EnvName(resource string) string {
	upper := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}
	return "PCIDEVICE_" + strings.Map(upper, resource)
}

// record writes the device-info files and the ledger. A failure is a fault of the node,
// which an inspection of the VF does not show. So the reason stays until Recheck.
func (a allocator) record(grants []grant) error {
	allocations := make([]ledger.Allocation, 0, len(grants))
	vfs := make([]pci.Address, 0, len(grants))
	until := a.opts.Now().Add(a.opts.Recheck)
	for _, g := range grants {
		vf := g.device.VF.Address
		if err := a.writeInfo(g); err != nil {
			return a.refuse(codes.Internal, vf, suspicion{fmt.Sprintf("write its device information: %v", err), until})
		}
		allocations = append(allocations, ledger.Allocation{Resource: a.resource, Device: vf, Netdev: g.device.VF.Netdev, At: a.opts.Now()})
		vfs = append(vfs, vf)
	}
	if err := a.opts.Ledger.PutAllocations(allocations); err != nil {
		why := suspicion{fmt.Sprintf("put its allocation on record: %v", err), until}
		for _, vf := range vfs {
			a.suspects.add(vf, why)
		}
		return status.Errorf(codes.Internal, "allocate %d devices of %s: %s", len(grants), a.resource, why.reason)
	}
	a.opts.Custody.AllocationsChanged(vfs...)
	return nil
}
