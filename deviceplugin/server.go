package deviceplugin

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/pci"
)

// server is one resource's device plugin: a socket, and its registration.
type server struct {
	v1beta1.UnimplementedDevicePluginServer
	resource string
	opts     *Options
	grants   allocator
	endpoint string             // the socket's file name
	check    chan struct{}      // socket and registration have to be checked
	hungUp   chan struct{}      // the kubelet has ended a stream
	cancel   context.CancelFunc // ends run
	ended    chan struct{}      // closed when run has ended

	mu         sync.Mutex    // guards all below
	devices    []Device      // in order of address
	list       []advert      // devices as the kubelet gets them
	version    int           // number of changes of list
	sent       int           // the latest version that was sent to the kubelet
	streams    int           // open streams of the kubelet
	changed    chan struct{} // closed, and made again, when list or withdrawn change
	progress   chan struct{} // likewise for sent and streams
	withdrawn  bool          // streams end after an empty list
	registered bool
	err        error // why it is not registered
}

func newServer(resource string, opts *Options, suspects *suspects) *server {
	return &server{
		resource: resource,
		opts:     opts,
		grants:   allocator{resource: resource, opts: opts, suspects: suspects},
		endpoint: endpointName(opts.Dir, resource),
		check:    make(chan struct{}, 1),
		hungUp:   make(chan struct{}, 1),
		ended:    make(chan struct{}),
		changed:  make(chan struct{}),
		progress: make(chan struct{}),
	}
}

func (s *server) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		s.run(ctx)
	}()
}

// advert is a device as the kubelet gets it.
type advert struct {
	vf      pci.Address
	healthy bool
	node    int // NUMA node; -1: not reported
}

func advertise(d *Device) advert {
	a := advert{d.VF.Address, d.Healthy(), d.VF.NUMANode}
	if d.Config.ExcludeTopology {
		a.node = -1
	}
	return a
}

func (a advert) message() *v1beta1.Device {
	out := &v1beta1.Device{ID: a.vf.String(), Health: v1beta1.Healthy}
	if !a.healthy {
		out.Health = v1beta1.Unhealthy
	}
	if a.node >= 0 {
		out.Topology = &v1beta1.TopologyInfo{Nodes: []*v1beta1.NUMANode{{ID: int64(a.node)}}}
	}
	return out
}

// set takes the pool's devices, in order of address, and keeps the slice. If the kubelet's
// list changes, it is sent.
func (s *server) set(devices []Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices = devices
	same := len(devices) == len(s.list)
	for i := 0; same && i < len(devices); i++ {
		same = s.list[i] == advertise(&devices[i])
	}
	if same {
		return
	}
	s.list = make([]advert, len(devices))
	for i := range devices {
		s.list[i] = advertise(&devices[i])
	}
	s.version++
	notify(&s.changed)
}

// device finds one of the pool's devices by the kubelet's id.
func (s *server) device(id string) (Device, bool) {
	vf, err := pci.ParseAddress(id)
	if err != nil {
		return Device{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := slices.BinarySearchFunc(s.devices, vf, func(d Device, vf pci.Address) int { return d.VF.Address.Compare(vf) })
	if !ok {
		return Device{}, false
	}
	return s.devices[i], true
}

// notify wakes all goroutines that wait on a channel. The caller holds s.mu.
func notify(ch *chan struct{}) {
	close(*ch)
	*ch = make(chan struct{})
}

// awaitSent waits until the present list has been sent to the kubelet. It returns early if
// the kubelet does not listen, or if ctx ends.
func (s *server) awaitSent(ctx context.Context) {
	s.mu.Lock()
	want := s.version
	for s.streams > 0 && s.sent < want {
		progress := s.progress
		s.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
}

// withdraw sends the kubelet an empty list and ends the server. Without the empty list,
// the kubelet would keep the resource's capacity for its grace period of five minutes.
func (s *server) withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices, s.list, s.withdrawn = nil, nil, true
	s.version++
	notify(&s.changed)
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

// service is a server behind one socket.
type service struct {
	*server
	listening *listening
}

// ListAndWatch implements the kubelet's API. It sends the devices at first and after each
// change.
func (s service) ListAndWatch(_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse]) error {
	s.count(1)
	defer s.count(-1)
	for {
		s.mu.Lock()
		list, version, changed, last := s.list, s.version, s.changed, s.withdrawn
		s.mu.Unlock()
		resp := &v1beta1.ListAndWatchResponse{Devices: make([]*v1beta1.Device, len(list))}
		for i, a := range list {
			resp.Devices[i] = a.message()
		}
		if err := stream.Send(resp); err != nil {
			s.noteHangUp()
			return err
		}
		if last {
			return nil
		}
		if !s.noteSent(version) {
			continue
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			s.noteHangUp()
			return nil
		}
	}
}

// count adds a stream, or takes one away.
func (s *server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams += n
	notify(&s.progress)
}

// noteSent reports whether there is nothing newer to send.
func (s *server) noteSent(version int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = max(s.sent, version)
	notify(&s.progress)
	return version == s.version
}

func (s service) noteHangUp() {
	if !s.listening.stopping.Load() {
		signal(s.hungUp)
	}
}

// GetDevicePluginOptions implements the kubelet's API. It offers no optional calls.
func (s *server) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{}, nil
}

// Allocate implements the kubelet's API.
func (s *server) Allocate(ctx context.Context, req *v1beta1.AllocateRequest) (*v1beta1.AllocateResponse, error) {
	resp, err := s.grants.allocate(ctx, s.device, req.ContainerRequests)
	if err != nil {
		s.opts.Log.Error("refused an allocation", "error", err)
	}
	return resp, err
}

// PreStartContainer implements the kubelet's API. The kubelet does not call it, because the
// options do not ask for it.
func (s *server) PreStartContainer(context.Context, *v1beta1.PreStartContainerRequest) (*v1beta1.PreStartContainerResponse, error) {
	return &v1beta1.PreStartContainerResponse{}, nil
}
