package deviceplugin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// kubelet behaves as the device manager of Kubernetes 1.36. At its start it deletes all
// sockets in its directory. It answers a registration when it has connected to the
// plugin. When a stream ends, it disconnects the plugin that the resource has by then.
type kubelet struct {
	v1beta1.UnimplementedRegistrationServer
	t    *testing.T
	dir  string
	grpc *grpc.Server

	mu      sync.Mutex // guards all below
	changed *sync.Cond
	plugins map[string]*grpc.ClientConn // resource -> the plugin's connection
	devices map[string]string           // resource -> its devices, as text
	log     []string
}

func startKubelet(t *testing.T, dir string) *kubelet {
	t.Helper()
	k := &kubelet{t: t, dir: dir, plugins: map[string]*grpc.ClientConn{}, devices: map[string]string{}}
	k.changed = sync.NewCond(&k.mu)
	k.deleteSockets()
	socket, err := net.Listen("unix", filepath.Join(dir, "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	socket.(*net.UnixListener).SetUnlinkOnClose(false) // killed, not stopped
	k.grpc = grpc.NewServer()
	v1beta1.RegisterRegistrationServer(k.grpc, k)
	go k.grpc.Serve(socket)
	t.Cleanup(k.stop)
	return k
}

func (k *kubelet) deleteSockets() {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type()&os.ModeSocket != 0 {
			os.Remove(filepath.Join(k.dir, e.Name()))
		}
	}
}

func (k *kubelet) stop() {
	k.grpc.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, conn := range k.plugins {
		conn.Close()
	}
}

func (k *kubelet) Register(ctx context.Context, req *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	if req.Version != v1beta1.Version || strings.Count(req.ResourceName, "/") != 1 {
		return nil, fmt.Errorf("bad registration %v", req)
	}
	conn, err := grpc.NewClient("unix://"+filepath.Join(k.dir, req.Endpoint), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	plugin := v1beta1.NewDevicePluginClient(conn)
	if _, err := plugin.GetDevicePluginOptions(ctx, &v1beta1.Empty{}); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to the plugin: %w", err)
	}
	k.note(func() {
		k.log = append(k.log, "registered "+req.ResourceName)
		k.plugins[req.ResourceName] = conn
	})
	go k.watch(req.ResourceName, plugin)
	return &v1beta1.Empty{}, nil
}

func (k *kubelet) watch(resource string, plugin v1beta1.DevicePluginClient) {
	stream, err := plugin.ListAndWatch(context.Background(), &v1beta1.Empty{})
	for err == nil {
		var resp *v1beta1.ListAndWatchResponse
		if resp, err = stream.Recv(); err == nil {
			k.note(func() {
				k.devices[resource] = list(resp)
				k.log = append(k.log, resource+": "+k.devices[resource])
			})
		}
	}
	k.note(func() {
		if conn := k.plugins[resource]; conn != nil { // the newest, not the one whose stream ended
			conn.Close()
			delete(k.plugins, resource)
		}
		k.log = append(k.log, "disconnected "+resource)
	})
}

// list is the devices as a human would note them: number, node, health.
func list(resp *v1beta1.ListAndWatchResponse) string {
	var parts []string
	for _, d := range resp.Devices {
		part := strings.TrimPrefix(d.ID, "0000:3b:")
		for _, node := range d.Topology.GetNodes() {
			part += fmt.Sprintf("@%d", node.ID)
		}
		if d.Health != v1beta1.Healthy {
			part += "(" + d.Health + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

func (k *kubelet) note(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
	k.changed.Broadcast()
}

// waitFor waits until the kubelet's own knowledge fulfils a condition.
func (k *kubelet) waitFor(what string, ok func() bool) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	gaveUp := false
	timer := time.AfterFunc(20*time.Second, func() { k.note(func() { gaveUp = true }) })
	defer timer.Stop()
	for !ok() {
		if gaveUp {
			k.t.Fatalf("the kubelet never sees %s; it saw\n%s", what, strings.Join(k.log, "\n"))
		}
		k.changed.Wait()
	}
}

// sees waits until the resource is connected and has these devices.
func (k *kubelet) sees(resource, devices string) {
	k.t.Helper()
	k.waitFor(resource+" with "+devices, func() bool {
		got, known := k.devices[resource]
		return known && got == devices && k.plugins[resource] != nil
	})
}

// logged counts lines of what happened.
func (k *kubelet) logged(line string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, l := range k.log {
		if l == line {
			n++
		}
	}
	return n
}

func (k *kubelet) allocate(resource string, ids ...string) (*v1beta1.AllocateResponse, error) {
	k.mu.Lock()
	conn := k.plugins[resource]
	k.mu.Unlock()
	return v1beta1.NewDevicePluginClient(conn).Allocate(k.t.Context(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: ids}},
	})
}

func sockets(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}
