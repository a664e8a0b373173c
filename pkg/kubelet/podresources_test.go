package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/kubelet/pkg/apis/podresources/v1"

	"fairlead.dev/fairlead/pkg/kubelet"
)

// fakeKubelet answers as a kubelet of a certain release.
type fakeKubelet struct {
	v1.UnimplementedPodResourcesListerServer
	pods  []*v1.PodResources
	get   error // the error that Get returns; nil: it returns the pod
	list  error
	lists int
	hang  bool // Get never answers
}

func (k *fakeKubelet) Get(ctx context.Context, req *v1.GetPodResourcesRequest) (*v1.GetPodResourcesResponse, error) {
	if k.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if k.get != nil {
		return nil, k.get
	}
	for _, p := range k.pods {
		if p.Namespace == req.PodNamespace && p.Name == req.PodName {
			return &v1.GetPodResourcesResponse{PodResources: p}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", req.PodName, req.PodNamespace)
}

func (k *fakeKubelet) List(context.Context, *v1.ListPodResourcesRequest) (*v1.ListPodResourcesResponse, error) {
	k.lists++
	return &v1.ListPodResourcesResponse{PodResources: k.pods}, k.list
}

// serve starts a kubelet at socket; stop ends it and removes the socket.
func serve(t *testing.T, socket string, k *fakeKubelet) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	v1.RegisterPodResourcesListerServer(s, k)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return s.Stop
}

func devices(resource string, ids ...string) *v1.ContainerDevices {
	return &v1.ContainerDevices{ResourceName: resource, DeviceIds: ids}
}

func container(name string, devices ...*v1.ContainerDevices) *v1.ContainerResources {
	return &v1.ContainerResources{Name: name, Devices: devices}
}

var node = []*v1.PodResources{
	{Namespace: "default", Name: "web", Containers: []*v1.ContainerResources{container("web")}},
	{Namespace: "nfv", Name: "router", Containers: []*v1.ContainerResources{
		container("sidecar", devices("fairlead.dev/fast", "0000:3b:11.0")),
		container("main",
			devices("fairlead.dev/fast", "0000:5e:10.2"), devices("fairlead.dev/fast", "0000:3b:10.4", "0000:3b:10.2"),
			devices("vendor.example/gpu", "GPU-7")),
		container("logs", devices("fairlead.dev/fast", "0000:3b:11.0")),
	}},
	{Namespace: "default", Name: "router", Containers: []*v1.ContainerResources{container("main", devices("fairlead.dev/fast", "0000:3b:12.0"))}},
}

// m#499, cni#215: devices are in the order of the containers, whatever the order of the
// kubelet's sets.
func TestPodDevices(t *testing.T) {
	router := map[string][]string{
		"fairlead.dev/fast":  {"0000:3b:11.0", "0000:3b:10.2", "0000:3b:10.4", "0000:5e:10.2"},
		"vendor.example/gpu": {"GPU-7"},
	}
	tests := map[string]struct {
		kubelet         fakeKubelet
		namespace, name string
		want            map[string][]string
		code            codes.Code
		lists           int
	}{
		"by Get":                   {namespace: "nfv", name: "router", want: router},
		"the other namespace":      {namespace: "default", name: "router", want: map[string][]string{"fairlead.dev/fast": {"0000:3b:12.0"}}},
		"a pod without devices":    {namespace: "default", name: "web", want: map[string][]string{}},
		"Get not implemented":      {kubelet: fakeKubelet{get: status.Error(codes.Unimplemented, "unknown method Get")}, namespace: "nfv", name: "router", want: router, lists: 1},
		"Get disabled":             {kubelet: fakeKubelet{get: errors.New("PodResources API Get method disabled")}, namespace: "nfv", name: "router", want: router, lists: 1},
		"no such pod":              {namespace: "nfv", name: "gone", want: map[string][]string{}, lists: 1},
		"Get fails":                {kubelet: fakeKubelet{get: status.Error(codes.ResourceExhausted, "rejected by rate limit")}, namespace: "nfv", name: "router", code: codes.ResourceExhausted},
		"List fails":               {kubelet: fakeKubelet{get: status.Error(codes.Unimplemented, ""), list: status.Error(codes.Internal, "broken")}, namespace: "nfv", name: "router", code: codes.Internal, lists: 1},
		"no Get, and no such pod":  {kubelet: fakeKubelet{get: status.Error(codes.Unimplemented, "")}, namespace: "nfv", name: "gone", want: map[string][]string{}, lists: 1},
		"same name, no such place": {namespace: "other", name: "router", want: map[string][]string{}, lists: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "k.sock")
			k := &fakeKubelet{pods: node, get: tt.kubelet.get, list: tt.kubelet.list}
			serve(t, socket, k)
			c := client(t, socket)
			got, err := c.PodDevices(t.Context(), tt.namespace, tt.name)
			if status.Code(err) != tt.code || err != nil && !strings.Contains(err.Error(), socket) {
				t.Errorf("error %v, want one of code %v that names the socket", err, tt.code)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if k.lists != tt.lists {
				t.Errorf("List was called %d times, want %d", k.lists, tt.lists)
			}
		})
	}
}

func TestAllocated(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "k.sock")
	serve(t, socket, &fakeKubelet{pods: node})
	c := client(t, socket)
	got, err := c.Allocated(t.Context())
	want := map[string][]kubelet.Allocation{
		"fairlead.dev/fast": {
			{Namespace: "nfv", Pod: "router", Container: "sidecar", Devices: []string{"0000:3b:11.0"}},
			{Namespace: "nfv", Pod: "router", Container: "main", Devices: []string{"0000:3b:10.2", "0000:3b:10.4", "0000:5e:10.2"}},
			{Namespace: "nfv", Pod: "router", Container: "logs", Devices: []string{"0000:3b:11.0"}},
			{Namespace: "default", Pod: "router", Container: "main", Devices: []string{"0000:3b:12.0"}},
		},
		"vendor.example/gpu": {{Namespace: "nfv", Pod: "router", Container: "main", Devices: []string{"GPU-7"}}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestInUse(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "k.sock")
	serve(t, socket, &fakeKubelet{pods: node})
	got, err := client(t, socket).InUse(t.Context())
	want := map[string][]string{
		"fairlead.dev/fast":  {"0000:3b:10.2", "0000:3b:10.4", "0000:3b:11.0", "0000:3b:12.0", "0000:5e:10.2"},
		"vendor.example/gpu": {"GPU-7"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestReconnectsAfterKubeletRestart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "k.sock")
	stop := serve(t, socket, &fakeKubelet{})
	c := client(t, socket)
	if _, err := c.InUse(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := c.InUse(t.Context()); err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("without a kubelet: error %v, want one that names the socket", err)
	}
	serve(t, socket, &fakeKubelet{})
	for {
		_, err := c.InUse(t.Context())
		if err == nil {
			return
		}
		if status.Code(err) != codes.Unavailable {
			t.Fatalf("error %v while it is not connected again", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "k.sock")
	k := &fakeKubelet{hang: true}
	serve(t, socket, k)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := client(t, socket).PodDevices(ctx, "nfv", "router"); status.Code(err) != codes.DeadlineExceeded || k.lists != 0 {
		t.Errorf("error %v, %d lists; want the deadline, and no second try after it", err, k.lists)
	}
}

func client(t *testing.T, socket string) *kubelet.PodResources {
	t.Helper()
	c, err := kubelet.New(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
