package deviceplugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// allocator makes what containers get with VFs of one resource.
type allocator struct {
	resource string
	opts     *Options
	suspect  chan struct{} // told of a VF that has a user its list does not show
	withheld *withheld
}

// allocate answers for the containers of one request, all or none. Whatever a
// container is given is on record before the kubelet hears of it.
func (a allocator) allocate(known map[string]Device, requests []*v1beta1.ContainerAllocateRequest) (*v1beta1.AllocateResponse, error) {
	a.withheld.mu.RLock()
	defer a.withheld.mu.RUnlock()
	users, err := readUsers(a.opts)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "allocate devices of %s: who uses them cannot be read: %v", a.resource, err)
	}
	resp := &v1beta1.AllocateResponse{}
	var grants []grant
	for _, req := range requests {
		container := &v1beta1.ContainerAllocateResponse{}
		var granted []grant
		for _, id := range req.DevicesIds {
			g, err := a.grant(known, users, id)
			if err != nil {
				return nil, err
			}
			granted = append(granted, g)
		}
		if err := a.fill(container, granted); err != nil {
			return nil, err
		}
		resp.ContainerResponses = append(resp.ContainerResponses, container)
		grants = append(grants, granted...)
	}
	if err := a.record(grants); err != nil {
		return nil, err
	}
	return resp, nil
}

// grant is one VF as a container gets it.
type grant struct {
	device Device
	info   deviceInfo
	nodes  []string // device nodes
}

// deviceInfo is a VF's part of PCIDEVICE_…_INFO.
type deviceInfo struct {
	Generic map[string]string `json:"generic"`
	VFIO    map[string]string `json:"vfio,omitempty"`
	UIO     map[string]string `json:"uio,omitempty"`
	RDMA    map[string]string `json:"rdma,omitempty"`
	Vhost   map[string]string `json:"vhost,omitempty"`
	Extra   map[string]string `json:"extra,omitempty"`
}

// grant reads the VF anew: between the last snapshot and now its driver may have
// been changed, or it may have vanished.
func (a allocator) grant(known map[string]Device, users users, id string) (grant, error) {
	d, ok := known[id]
	if !ok {
		return grant{}, a.refuse(codes.NotFound, id, fmt.Sprintf("it is not among the %d devices of this resource on this node", len(known)))
	}
	if !d.Healthy() {
		return grant{}, a.refuse(codes.FailedPrecondition, id, d.Reason)
	}
	if a.withheld.vfs[d.VF.Address] > 0 {
		return grant{}, a.refuse(codes.Unavailable, id, "a profile is just changing it")
	}
	vf, err := a.opts.FS.VFAt(sysfs.VFSlot{Address: d.VF.Address, PF: d.VF.PF, Index: d.VF.Index})
	if errors.Is(err, fs.ErrNotExist) {
		return grant{}, a.refuse(codes.NotFound, id, "the VF has vanished from the PCI bus")
	}
	if err != nil {
		return grant{}, a.refuse(codes.Internal, id, err.Error())
	}
	before := d.VF.Driver
	d.VF = vf
	if reason := users.reason(a.resource, vf); reason != "" {
		signal(a.suspect) // or the kubelet would choose it again
		return grant{}, a.refuse(codes.FailedPrecondition, id, reason)
	}
	if reason := d.unfit(); reason != "" {
		return grant{}, a.refuse(codes.FailedPrecondition, id, reason)
	}
	if vf.Driver != before && !d.Config.Match(d.PF, vf) {
		return grant{}, a.refuse(codes.FailedPrecondition, id, fmt.Sprintf("it is bound to %s since a moment ago, which the pool does not select", vf.Driver))
	}
	g := grant{device: d, info: deviceInfo{Generic: map[string]string{"deviceID": id}, Extra: extra(d)}}
	if err := a.addNodes(&g); err != nil {
		return grant{}, a.refuse(codes.FailedPrecondition, id, err.Error())
	}
	return g, nil
}

func (a allocator) refuse(code codes.Code, id, why string) error {
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

func (a allocator) addNodes(g *grant) error {
	vf := g.device.VF
	switch {
	case vf.VFIO():
		group, ok := a.opts.FS.VFIOGroup(vf.Address)
		if !ok {
			return fmt.Errorf("it is bound to %s but has no IOMMU group: enable the IOMMU (intel_iommu=on or amd_iommu=on), or VFIO's enable_unsafe_noiommu_mode", vf.Driver)
		}
		g.info.VFIO = map[string]string{"mount": "/dev/vfio/vfio", "dev-mount": "/dev/vfio/" + group}
		g.nodes = append(g.nodes, "/dev/vfio/vfio", "/dev/vfio/"+group)
	case vf.Userspace():
		name, ok := a.opts.FS.UIO(vf.Address)
		if !ok {
			return fmt.Errorf("it is bound to %s but has no uio device", vf.Driver)
		}
		g.info.UIO = map[string]string{"mount": "/dev/" + name}
		g.nodes = append(g.nodes, "/dev/"+name)
	}
	if g.device.Selector.RDMA {
		if err := a.addRDMA(g); err != nil {
			return err
		}
	}
	if g.device.Config.NeedVhostNet {
		g.info.Vhost = map[string]string{"net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun"}
		g.nodes = append(g.nodes, "/dev/vhost-net", "/dev/net/tun")
	}
	return nil
}

// addRDMA sorts a VF's character devices by kind: uverbs3, umad3, issm3, rdma_cm.
func (a allocator) addRDMA(g *grant) error {
	g.info.RDMA = map[string]string{}
	for _, name := range g.device.VF.RDMADevices {
		for _, node := range a.opts.RDMANodes(name) {
			kind := strings.TrimRight(path.Base(node), "0123456789")
			g.info.RDMA[kind] = node
			g.nodes = append(g.nodes, node)
		}
	}
	if g.info.RDMA["uverbs"] == "" {
		return fmt.Errorf("its RDMA device %s has no uverbs node: is the module ib_uverbs loaded?", strings.Join(g.device.VF.RDMADevices, ", "))
	}
	return nil
}

// fill writes a container's response; the order of devices is the kubelet's.
func (a allocator) fill(resp *v1beta1.ContainerAllocateResponse, grants []grant) error {
	var ids []string
	infos := map[string]deviceInfo{}
	seen := map[string]bool{}
	for _, g := range grants {
		id := g.device.VF.Address.String()
		ids = append(ids, id)
		infos[id] = g.info
		for _, node := range g.nodes {
			if seen[node] { // /dev/vfio/vfio, and a group that several VFs share
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

// EnvName is the variable by which a container learns its devices of a resource:
// PCIDEVICE_FAIRLEAD_DEV_FAST for fairlead.dev/fast.
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

// record writes the device-info files and the ledger.
func (a allocator) record(grants []grant) error {
	allocations := make([]ledger.Allocation, 0, len(grants))
	for _, g := range grants {
		id := g.device.VF.Address.String()
		if err := a.writeInfo(g); err != nil {
			return a.refuse(codes.Internal, id, fmt.Sprintf("write its device information: %v", err))
		}
		allocations = append(allocations, ledger.Allocation{Resource: a.resource, Device: g.device.VF.Address, At: a.opts.Now()})
	}
	if err := a.opts.Ledger.PutAllocations(allocations); err != nil {
		return status.Errorf(codes.Internal, "allocate %d devices of %s: put them on record: %v", len(grants), a.resource, err)
	}
	return nil
}
