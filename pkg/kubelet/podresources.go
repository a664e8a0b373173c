// Package kubelet asks the kubelet which devices it gave to which pods, through its
// PodResources socket. Each call asks the kubelet; nothing is cached or changed. Package
// deviceplugin advertises devices.
package kubelet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// PodResources is a client of the socket. It connects on first use, and again after the kubelet
// has restarted.
type PodResources struct {
	socket string
	client podresources.PodResourcesListerClient
	conn   *grpc.ClientConn
}

// maxReply limits a reply. A node with hundreds of pods that list CPUs and NUMA nodes for each
// exceeds gRPC's default of 4 MiB.
const maxReply = 16 << 20

// New creates a client; it does not connect yet.
func New(socket string) (*PodResources, error) {
	between := backoff.DefaultConfig
	// gRPC's longest pause by default is two minutes, which would prolong the kubelet's
	// absence.
	between.BaseDelay, between.MaxDelay = 100*time.Millisecond, time.Second
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: between, MinConnectTimeout: time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)))
	if err != nil {
		return nil, fmt.Errorf("connect to the kubelet's pod resources socket %s: %w", socket, err)
	}
	return &PodResources{socket: socket, client: podresources.NewPodResourcesListerClient(conn), conn: conn}, nil
}

// Close ends the connection.
func (p *PodResources) Close() error { return p.conn.Close() }

// PodDevices returns the ids of the devices that the kubelet allocated to a pod, by resource,
// in the order of its containers, and sorted for each container. The map is empty if the pod
// has no devices. PodDevices fails at the latest when ctx ends.
func (p *PodResources) PodDevices(ctx context.Context, namespace, name string) (map[string][]string, error) {
	// Get exists since Kubernetes 1.27, and is on by default since 1.34.
	got, err := p.client.Get(ctx, &podresources.GetPodResourcesRequest{PodNamespace: namespace, PodName: name})
	switch status.Code(err) {
	case codes.OK:
		return devices(got.GetPodResources()), nil
	case codes.Unimplemented, codes.Unknown, codes.NotFound:
	default:
		return nil, p.wrap(err)
	}
	// Get is switched off or unknown, or the pod does not exist: the kubelet's code may be the
	// same for all three, so the list decides.
	pods, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if pod.GetNamespace() == namespace && pod.GetName() == name {
			return devices(pod), nil
		}
	}
	return map[string][]string{}, nil
}

// Allocation is the devices of one resource that a container has.
type Allocation struct {
	Namespace, Pod, Container string
	Devices                   []string // sorted
}

// Allocated returns all devices that the kubelet has handed out, by resource.
func (p *PodResources) Allocated(ctx context.Context) (map[string][]Allocation, error) {
	pods, err := p.list(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string][]Allocation{}
	for _, pod := range pods {
		for _, c := range pod.GetContainers() {
			for resource, ids := range containerDevices(c) {
				all[resource] = append(all[resource], Allocation{pod.GetNamespace(), pod.GetName(), c.GetName(), ids})
			}
		}
	}
	return all, nil
}

// InUse returns the ids of the devices of all pods on the node, by resource, sorted.
func (p *PodResources) InUse(ctx context.Context) (map[string][]string, error) {
	allocated, err := p.Allocated(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for resource, allocations := range allocated {
		for _, a := range allocations {
			all[resource] = append(all[resource], a.Devices...)
		}
		slices.Sort(all[resource])
		all[resource] = slices.Compact(all[resource])
	}
	return all, nil
}

func (p *PodResources) list(ctx context.Context) ([]*podresources.PodResources, error) {
	got, err := p.client.List(ctx, &podresources.ListPodResourcesRequest{})
	if err != nil {
		return nil, p.wrap(err)
	}
	return got.GetPodResources(), nil
}

func (p *PodResources) wrap(err error) error {
	return fmt.Errorf("ask the kubelet for devices of pods (%s; is the kubelet running, and is this directory mounted into the agent?): %w", p.socket, err)
}

func devices(pod *podresources.PodResources) map[string][]string {
	all := map[string][]string{}
	for _, c := range pod.GetContainers() {
		for resource, ids := range containerDevices(c) {
			for _, id := range ids {
				// A sidecar that started as an init container may share its devices.
				if !slices.Contains(all[resource], id) {
					all[resource] = append(all[resource], id)
				}
			}
		}
	}
	return all
}

// containerDevices sorts the ids, since the kubelet's own order is random. The kubelet also
// repeats a resource for each NUMA node.
func containerDevices(c *podresources.ContainerResources) map[string][]string {
	all := map[string][]string{}
	for _, d := range c.GetDevices() {
		all[d.GetResourceName()] = append(all[d.GetResourceName()], d.GetDeviceIds()...)
	}
	for resource, ids := range all {
		slices.Sort(ids)
		all[resource] = slices.Compact(ids)
	}
	return all
}
