package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns"
	"fairlead.dev/fairlead/pkg/sandbox/sandboxtest"
)

// node is a node of fakes with a keeper and a real ledger.
type node struct {
	t       testing.TB
	dir     string
	world   *sandboxtest.World
	cluster *sandboxtest.Cluster
	kubelet *sandboxtest.Devices
	ledger  *ledger.Ledger
	keeper  *Keeper
	o       Options // of the next agent
	now     time.Time
	moved   []MovedRoute // by the next Attach
	keptFor []string     // primary's and programs' interfaces of each KeepDefaultRoutes

	mu    sync.Mutex // guards what follows
	netns map[string]uint64
	next  uint64
}

const primaryConf = `{"cniVersion":"1.0.0","name":"cluster","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), world: sandboxtest.NewWorld(t), cluster: sandboxtest.NewCluster(),
		kubelet: &sandboxtest.Devices{ByPod: map[string]map[string][]string{}},
		now:     time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), netns: map[string]uint64{}}
	n.writeConf("10-bridge.conflist", primaryConf)
	n.o = Options{Cluster: n.cluster, Devices: n.kubelet, DevInfoDir: filepath.Join(n.dir, "devinfo"), PluginPath: "/opt/cni/bin",
		Primary: confdir.NewPrimary(confdir.Options{Dir: filepath.Join(n.dir, "net.d"), Log: slog.New(slog.DiscardHandler)}),
		Uplinks: func(string) []string { return []string{"ens1f0"} },
		Now:     func() time.Time { return n.now }, Log: slog.New(slog.DiscardHandler)}
	n.open(filepath.Join(n.dir, "ledger.db"))
	n.cluster.NAD(t, "macvlan-conf", "", `{"cniVersion":"1.0.0","type":"macvlan","master":"eth0","ipam":{"type":"host-local"}}`)
	n.cluster.NAD(t, "fast", "fairlead.dev/fast", `{"cniVersion":"1.0.0","type":"sriov","vlan":100}`)
	n.cluster.NAD(t, "bridge-conf", "", `{"cniVersion":"0.4.0","type":"bridge","bridge":"mybridge"}`)
	n.cluster.NAD(t, "tuned", "", `{"cniVersion":"1.0.0","plugins":[{"type":"macvlan","master":"eth0"},{"type":"tuning"},{"type":"sbr"}]}`)
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
	n.o.Ledger, n.o.Chains, n.o.HostExec = sandboxtest.Ledger{Ledger: l, World: n.world}, n.world, n.world
	n.o.Kernel = Kernel{Identify: n.identify, LastIfindex: func(string) int { return 1 },
		MoveDefaultRoutes: func(_, ifName string, gateways []netip.Addr) error {
			return n.world.Step("routes", fmt.Sprint("routes ", ifName, " ", gateways))
		},
		KeepDefaultRoutes: func(_ string, primary, programs []string) ([]MovedRoute, error) {
			n.keptFor = append(n.keptFor, fmt.Sprint(primary, " ", programs))
			return n.moved, nil
		}}
	n.keeper = New(n.o)
}

// restart makes an agent with other options on the same ledger.
func (n *node) restart(change func(*Options)) {
	n.t.Helper()
	change(&n.o)
	if err := n.ledger.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.open(filepath.Join(n.dir, "ledger.db"))
}

// newNetns makes a namespace at a path, in place of one that may be there.
func (n *node) newNetns(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	n.netns[path] = n.next
}

func (n *node) noNetns(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.netns, path)
}

func (n *node) identify(path string) (ledger.Netns, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	inode, ok := n.netns[path]
	if !ok {
		_, err := netns.Open("/nonexistent" + path)
		return ledger.Netns{}, err
	}
	return ledger.Netns{Path: path, Device: 4, Inode: inode, Boot: "b1"}, nil
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
	n.cluster.NAD(n.t, name, resource, config)
}

// pod makes a pod with a networks annotation; devices are those of fairlead.dev/fast.
func (n *node) pod(name, networks string, devices ...string) {
	n.cluster.AddPod(name, networks)
	if len(devices) > 0 {
		n.kubelet.ByPod["default/"+name] = map[string][]string{"fairlead.dev/fast": devices}
	}
}

func (n *node) request(id, pod string) Request {
	return Request{ID: id, Netns: "/run/netns/" + id, IfName: "eth0", Path: "/opt/cni/bin", Exec: n.world, At: n.now,
		Pod:          ledger.PodRef{Namespace: "default", Name: pod, UID: "uid-" + pod},
		Args:         "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod + ";K8S_POD_UID=uid-" + pod,
		Capabilities: map[string]any{"portMappings": []any{map[string]any{"hostPort": 80}}, "unasked": 1}}
}

// call calls the keeper as the door does for a verb.
func (n *node) call(verb, id, pod string) (string, error) {
	n.t.Helper()
	if verb == "ADD" {
		n.mu.Lock()
		_, ok := n.netns["/run/netns/"+id]
		n.mu.Unlock()
		if !ok {
			n.newNetns("/run/netns/" + id)
		}
	}
	return n.serve(n.t.Context(), verb, n.request(id, pod))
}

func (n *node) serve(ctx context.Context, verb string, r Request) (_ string, err error) {
	defer Recovered(&err)
	switch verb {
	case "ADD":
		result, err := n.keeper.Attach(ctx, r)
		if err != nil {
			return "", err
		}
		raw, err := json.Marshal(result)
		return string(raw), err
	case "DEL":
		return "", n.keeper.Release(ctx, r)
	}
	return "", n.keeper.Verify(ctx, r)
}

func (n *node) mustAdd(id, pod string) {
	n.t.Helper()
	if _, err := n.call("ADD", id, pod); err != nil {
		n.t.Fatal(err)
	}
}

// retryDue does the work of the loops that is due, and waits for it.
func (n *node) retryDue(ctx context.Context) {
	n.keeper.reconciler.retryDue(ctx, &joined{})
	n.keeper.reconciler.work.Wait()
	n.keeper.statuses.retry(ctx)
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
	files, err := fs.Glob(os.DirFS(n.dir), "devinfo/cni/*")
	if err != nil || len(files) != 0 {
		n.t.Errorf("left device-info files: %v", files)
	}
}

// markReleasing leaves the record of an agent that died during a release.
func (n *node) markReleasing(id string) {
	n.t.Helper()
	s := n.sandbox(id)
	s.Releasing = true
	if err := n.ledger.PutSandbox(s); err != nil {
		n.t.Fatal(err)
	}
}

func addrs(text string) []netip.Addr {
	var all []netip.Addr
	for _, word := range strings.Fields(text) {
		all = append(all, netip.MustParseAddr(word))
	}
	return all
}
