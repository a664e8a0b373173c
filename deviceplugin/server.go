package deviceplugin

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// server is one resource's device plugin: a socket, and its registration.
type server struct {
	v1beta1.UnimplementedDevicePluginServer
	allocator
	endpoint string             // the socket's file name
	check    chan struct{}      // see whether socket and registration still stand
	hungUp   chan struct{}      // the kubelet has ended a stream
	cancel   context.CancelFunc // ends run
	done     chan struct{}      // closed when run has ended

	mu         sync.Mutex // guards all below
	devices    map[string]Device
	list       []*v1beta1.Device // devices as the kubelet is told
	changed    chan struct{}     // closed, and made anew, when list or withdrawn change
	withdrawn  bool              // streams end after the list that is empty
	registered bool
	err        error // why it is not registered
}

func newServer(resource string, opts *Options) *server {
	return &server{
		allocator: allocator{resource: resource, opts: opts, withheld: &withheld{}},
		endpoint:  endpointName(resource),
		check:     make(chan struct{}, 1),
		hungUp:    make(chan struct{}, 1),
		done:      make(chan struct{}),
		changed:   make(chan struct{}),
	}
}

func (s *server) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
}

// set tells the kubelet of the pool's devices, if they differ from what it knows.
func (s *server) set(devices []Device) {
	known := make(map[string]Device, len(devices))
	list := make([]*v1beta1.Device, 0, len(devices))
	for _, d := range devices {
		advertised := advertise(d)
		known[advertised.ID] = d
		list = append(list, advertised)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices = known
	if same(s.list, list) {
		return
	}
	s.list = list
	s.notify()
}

func advertise(d Device) *v1beta1.Device {
	out := &v1beta1.Device{ID: d.VF.Address.String(), Health: v1beta1.Healthy}
	if !d.Healthy() {
		out.Health = v1beta1.Unhealthy
	}
	if d.VF.NUMANode >= 0 && !d.Config.ExcludeTopology {
		out.Topology = &v1beta1.TopologyInfo{Nodes: []*v1beta1.NUMANode{{ID: int64(d.VF.NUMANode)}}}
	}
	return out
}

func same(a, b []*v1beta1.Device) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !proto.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// notify wakes the streams; s.mu is held.
func (s *server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// withdraw tells the kubelet that the resource has no devices any more, and then
// ends: a server that merely vanished would leave its capacity on the node for
// the kubelet's five minutes of grace.
func (s *server) withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices, s.list, s.withdrawn = nil, nil, true
	s.notify()
	s.cancel()
}

func (s *server) isWithdrawn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.withdrawn
}

func (s *server) status() (registered bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registered, s.err
}

// service is a server as it is reached through one socket.
type service struct {
	*server
	listening *listening
}

// ListAndWatch implements the kubelet's API: it sends the devices, and again
// whenever they have changed.
func (s service) ListAndWatch(_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	for {
		s.mu.Lock()
		list, changed, last := s.list, s.changed, s.withdrawn
		s.mu.Unlock()
		if err := stream.Send(&v1beta1.ListAndWatchResponse{Devices: list}); err != nil {
			s.noteHangUp()
			return err
		}
		if last {
			return nil
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			s.noteHangUp()
			return nil
		}
	}
}

func (s service) noteHangUp() {
	if !s.listening.stopping.Load() {
		signal(s.hungUp)
	}
}

// GetDevicePluginOptions implements the kubelet's API: no optional call is offered.
func (s *server) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{}, nil
}

// Allocate implements the kubelet's API.
func (s *server) Allocate(_ context.Context, req *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	s.mu.Lock()
	known := s.devices
	s.mu.Unlock()
	resp, err := s.allocate(known, req.ContainerRequests)
	if err != nil {
		s.opts.Log.Error("allocation refused", "err", err)
	}
	return resp, err
}

// PreStartContainer implements the kubelet's API. It is not asked for.
func (s *server) PreStartContainer(context.Context, *v1beta1.PreStartContainerRequest) (*v1beta1.PreStartContainerResponse, error) {
	return &v1beta1.PreStartContainerResponse{}, nil
}
