package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
)

// node is a node in which plugins, attachers, the kubelet and the API server are
// fakes that keep a picture of what exists; the ledger is a real one.
type node struct {
	t       testing.TB
	dir     string
	world   *world
	cluster *fakeCluster
	kubelet fakeDevices
	ledger  *ledger.Ledger
	server  *Server
	now     time.Time
	netns   map[string]bool // namespaces that exist
}

const primaryConf = `{"cniVersion":"1.0.0","name":"cluster","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), world: newWorld(t), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC),
		netns: map[string]bool{}, kubelet: fakeDevices{}}
	n.cluster = &fakeCluster{world: n.world, pods: map[string]network.Pod{}, nads: map[string]network.Definition{}, status: map[string]string{}}
	n.writeConf("10-bridge.conflist", primaryConf)
	n.open(filepath.Join(n.dir, "ledger.db"))
	n.nad("macvlan-conf", "", `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0","ipam":{"type":"host-local"}}`)
	n.nad("fast", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","vlan":100}`)
	n.nad("bridge-conf", "", `{"cniVersion":"0.4.0","type":"bridge","bridge":"mybridge"}`)
	n.nad("tuned", "", `{"cniVersion":"1.0.0","plugins":[{"type":"macvlan","master":"eth0"},{"type":"tuning"},{"type":"sbr"}]}`)
	return n
}

// open starts an agent on a ledger file.
func (n *node) open(path string) {
	n.t.Helper()
	l, err := ledger.Open(path)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	n.ledger = l
	n.server = New(Options{
		Socket: filepath.Join(n.dir, "cni.sock"), Ledger: faultyLedger{Ledger: l, w: n.world}, Cluster: n.cluster, Devices: n.kubelet,
		Attachers: n.world, Primary: NewPrimary(filepath.Join(n.dir, "net.d"), "", slog.New(slog.DiscardHandler)),
		HostExec: n.world, Tombstones: wire.Tombstones{Dir: filepath.Join(n.dir, "tombstones")}, DevInfoDir: filepath.Join(n.dir, "devinfo"),
		CNIPath: "/opt/cni/bin", Now: func() time.Time { return n.now }, Log: slog.New(slog.DiscardHandler),
		Uplinks: func(string) []string { return []string{"ens1f0"} },
	})
	n.server.netnsGone = func(path string) bool { return !n.netns[path] }
	n.server.lastIfindex = func(string) int { return 1 }
	n.server.setRoutes = func(netns, ifName string, gateways []netip.Addr) error {
		return n.world.step("routes", fmt.Sprint("routes ", ifName, " ", gateways))
	}
}

func (n *node) writeConf(name, text string) {
	n.t.Helper()
	dir := filepath.Join(n.dir, "net.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) nad(name, resource, config string) {
	n.t.Helper()
	d, err := network.ParseDefinition("default", name, config, map[string]string{network.ResourceAnnotation: resource})
	if err != nil {
		n.t.Fatal(err)
	}
	n.cluster.nads["default/"+name] = d
}

// pod makes a pod with a networks annotation; devices are those of fairlead.dev/fast.
func (n *node) pod(name, networks string, devices ...string) {
	n.cluster.pods["default/"+name] = network.Pod{Namespace: "default", Name: name, UID: "uid-" + name,
		Annotations: map[string]string{network.NetworksAnnotation: networks}}
	if len(devices) > 0 {
		n.kubelet["default/"+name] = map[string][]string{"fairlead.dev/fast": devices}
	}
}

func (n *node) request(command, id, pod string) wire.Request {
	return wire.Request{Command: command, ContainerID: id, Netns: "/run/netns/" + id, IfName: "eth0", Path: "/opt/cni/bin",
		Args:  "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod + ";K8S_POD_UID=uid-" + pod,
		Stdin: []byte(`{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead","runtimeConfig":{"portMappings":[{"hostPort":80}],"unasked":1}}`)}
}

// call serves a request as if the shim had sent it.
func (n *node) call(command, id, pod string) (string, error) {
	n.t.Helper()
	if command == "ADD" {
		n.netns["/run/netns/"+id] = true
	}
	defer n.server.after.Wait()
	return n.serve(n.t.Context(), n.request(command, id, pod))
}

func (n *node) serve(ctx context.Context, r wire.Request) (string, error) {
	m := n.server.serve(ctx, r, n.world, 1)
	if m.Reply.ExitCode != 0 {
		return "", errors.New(string(m.Reply.Stdout))
	}
	return string(m.Reply.Stdout), nil
}

func (n *node) mustAdd(id, pod string) {
	n.t.Helper()
	if _, err := n.call("ADD", id, pod); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) sandbox(id string) ledger.Sandbox {
	n.t.Helper()
	s, ok, err := n.ledger.Sandbox(id)
	if err != nil || !ok {
		n.t.Fatalf("sandbox %s: %v, %v", id, ok, err)
	}
	return s
}

// wantClean checks that nothing is left anywhere.
func (n *node) wantClean() {
	n.t.Helper()
	if left := n.world.left(); left != "" {
		n.t.Errorf("left on the node:\n%s", left)
	}
	all, err := n.ledger.Sandboxes()
	if err != nil || len(all) != 0 {
		n.t.Errorf("left in the ledger: %+v, %v", all, err)
	}
	if files, _ := filepath.Glob(filepath.Join(n.dir, "devinfo", "cni", "*")); len(files) != 0 {
		n.t.Errorf("left device-info files: %v", files)
	}
}

// faultyLedger makes each write a step.
type faultyLedger struct {
	*ledger.Ledger
	w *world
}

func (l faultyLedger) PutSandbox(s ledger.Sandbox) (err error) {
	stepErr := l.w.do("put", "put "+describe(s), func() { err = l.Ledger.PutSandbox(s) })
	return errors.Join(stepErr, err)
}

func (l faultyLedger) DeleteSandbox(id string) (err error) {
	stepErr := l.w.do("delete", "delete "+id, func() { err = l.Ledger.DeleteSandbox(id) })
	return errors.Join(stepErr, err)
}

func describe(s ledger.Sandbox) string {
	parts := []string{s.ID}
	if s.Releasing {
		parts = append(parts, "releasing")
	}
	for _, a := range s.Attachments {
		parts = append(parts, fmt.Sprintf("%s=%s/%s", a.IfName, a.Kind, a.Phase))
	}
	return strings.Join(parts, " ")
}

type fakeDevices map[string]map[string][]string

func (d fakeDevices) PodDevices(_ context.Context, namespace, name string) (map[string][]string, error) {
	return d[namespace+"/"+name], nil
}

func (d fakeDevices) InUse(context.Context) (map[string][]string, error) {
	all := map[string][]string{}
	for _, devices := range d {
		for resource, ids := range devices {
			all[resource] = append(all[resource], ids...)
		}
	}
	return all, nil
}

type fakeCluster struct {
	world     *world
	mu        sync.Mutex // guards what follows
	pods      map[string]network.Pod
	nads      map[string]network.Definition
	status    map[string]string
	events    []string
	down      error
	statusErr error
}

func (c *fakeCluster) Pod(_ context.Context, namespace, name, uid string) (network.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pods[namespace+"/"+name]
	switch {
	case c.down != nil:
		return p, c.down
	case !ok, uid != "" && p.UID != uid:
		return p, fmt.Errorf("pod %s/%s: %w", namespace, name, network.ErrNotFound)
	}
	return p, nil
}

func (c *fakeCluster) NetAttachDef(_ context.Context, namespace, name string) (network.Definition, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.nads[namespace+"/"+name]
	switch {
	case c.down != nil:
		return d, c.down
	case !ok:
		return d, fmt.Errorf("net-attach-def %s/%s: %w", namespace, name, network.ErrNotFound)
	}
	return d, nil
}

func (c *fakeCluster) SetNetworkStatus(_ context.Context, pod ledger.PodRef, status string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statusErr != nil {
		return c.statusErr
	}
	c.status[pod.String()] = status
	return nil
}

func (c *fakeCluster) Event(pod ledger.PodRef, eventType, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, fmt.Sprintf("%s %s %s: %s", pod, eventType, reason, message))
}

func (c *fakeCluster) Ready() error { return c.down }
