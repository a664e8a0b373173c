package cni

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/sandbox"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// node is a node of fakes with the door, a keeper and a real ledger.
type node struct {
	t       testing.TB
	dir     string
	world   *sandboxtest.World
	cluster *sandboxtest.Cluster
	kubelet *sandboxtest.Devices
	ledger  *ledger.Ledger
	keeper  *sandbox.Keeper
	server  *Server
	k       sandbox.Options // of the next keeper
	now     time.Time
}

const primaryConf = `{"cniVersion":"1.0.0","name":"cluster","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), world: sandboxtest.NewWorld(t), cluster: sandboxtest.NewCluster(),
		kubelet: &sandboxtest.Devices{ByPod: map[string]map[string][]string{}}, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	n.writeConf("10-bridge.conflist", primaryConf)
	l, err := ledger.Open(filepath.Join(n.dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	n.ledger = l
	n.k = sandbox.Options{Ledger: sandboxtest.Ledger{Ledger: l, World: n.world}, Cluster: n.cluster, Devices: n.kubelet, Chains: n.world,
		Primary:  confdir.NewPrimary(confdir.Options{Dir: filepath.Join(n.dir, "net.d"), Log: slog.New(slog.DiscardHandler)}),
		HostExec: n.world, PluginPath: "/opt/cni/bin", DevInfoDir: filepath.Join(n.dir, "devinfo"),
		Kernel: sandbox.Kernel{
			Identify:          func(path string) (ledger.Netns, error) { return ledger.Netns{Path: path, Inode: 1}, nil },
			LastIfindex:       func(string) int { return 1 },
			MoveDefaultRoutes: func(string, string, []netip.Addr) error { return nil },
			KeepDefaultRoutes: func(string, []string, []string) ([]sandbox.MovedRoute, error) { return nil, nil },
		},
		Now: func() time.Time { return n.now }, Log: slog.New(slog.DiscardHandler)}
	n.open(func(*sandbox.Options) {})
	n.nad("macvlan-conf", "", `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0","ipam":{"type":"host-local"}}`)
	n.nad("fast", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","vlan":100}`)
	n.nad("bridge-conf", "", `{"cniVersion":"0.4.0","type":"bridge","bridge":"mybridge"}`)
	n.nad("tuned", "", `{"cniVersion":"1.0.0","plugins":[{"type":"macvlan","master":"eth0"},{"type":"tuning"},{"type":"sbr"}]}`)
	return n
}

// open makes keeper and server, as the agent does.
func (n *node) open(change func(*sandbox.Options)) {
	change(&n.k)
	n.keeper = sandbox.New(n.k)
	n.server = New(Options{Socket: filepath.Join(n.dir, "cni.sock"), Keeper: n.keeper, Cluster: n.cluster, Primary: n.k.Primary,
		HostExec: n.k.HostExec, Tombstones: wire.Tombstones{Dir: filepath.Join(n.dir, "tombstones")}, CNIPath: n.k.PluginPath,
		Now: n.k.Now, Log: n.k.Log})
}

func (n *node) nad(name, resource, config string) {
	n.t.Helper()
	n.cluster.NAD(n.t, name, resource, config)
}

// pod makes a pod with a networks annotation; devices are those of fairlead.dev/fast.
func (n *node) pod(name, networks string, devices ...string) {
	n.cluster.AddPod(name, networks)
	if len(devices) > 0 {
		n.kubelet.ByPod["default/"+name] = map[string][]string{"fairlead.dev/fast": devices}
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

func (n *node) request(command, id, pod string) wire.Request {
	return wire.Request{Command: command, ContainerID: id, Netns: "/run/netns/" + id, IfName: "eth0", Path: "/opt/cni/bin",
		Args:  "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod + ";K8S_POD_UID=uid-" + pod,
		Stdin: []byte(`{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead","runtimeConfig":{"portMappings":[{"hostPort":80}],"unasked":1}}`)}
}

// call serves a request as if the shim had sent it.
func (n *node) call(command, id, pod string) (string, error) {
	n.t.Helper()
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
	if left := n.world.Left(); left != "" {
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
