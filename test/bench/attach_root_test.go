//go:build root

package bench

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sandbox"
)

const resource = "fairlead.dev/fast"

// BenchmarkAttach measures an ADD and a DEL by kind of attachment, one at a time and 8
// at once: the keeper with a ledger on disk, stock bridge and host-local as primary
// network, by exec. The API server, the kubelet and the VF's sysfs are fakes.
func BenchmarkAttach(b *testing.B) {
	n := newNode(b)
	for _, kind := range []struct{ name, networks string }{
		{"primary", ""}, {"macvlan", "lan"}, {"3macvlans", "lan,lan,lan"}, {"bridge-by-exec", "br"}, {"vfio", "fast"},
	} {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, parallel), func(b *testing.B) { n.measure(b, kind.networks, parallel) })
		}
	}
}

func (n *node) measure(b *testing.B, networks string, parallel int) {
	var (
		mu        sync.Mutex // guards the two below
		adds      []time.Duration
		dels      []time.Duration
		iteration int
	)
	for b.Loop() {
		iteration++
		b.StopTimer()
		paths := make([]string, parallel)
		for i := range paths {
			paths[i] = netnstest.New(b)
		}
		b.StartTimer()
		var group sync.WaitGroup
		for i, path := range paths {
			group.Go(func() {
				add, del := n.addAndDel(b, fmt.Sprintf("%s-%d-%d", b.Name(), iteration, i), path, networks)
				mu.Lock()
				defer mu.Unlock()
				adds, dels = append(adds, add), append(dels, del)
			})
		}
		group.Wait()
	}
	b.ReportMetric(median(adds), "ADD-p50-ms")
	b.ReportMetric(median(dels), "DEL-p50-ms")
}

func (n *node) addAndDel(b *testing.B, id, path, networks string) (add, del time.Duration) {
	ctx := context.Background()
	id = strings.NewReplacer("/", "-", "#", "-").Replace(id)
	r := sandbox.Request{ID: id, Netns: path, IfName: "eth0", At: time.Now(), Path: n.bin,
		Pod:  ledger.PodRef{Namespace: "default", Name: networks + "." + id, UID: id},
		Args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + id}
	began := time.Now()
	if _, err := n.keeper.Attach(ctx, r); err != nil {
		b.Error(err)
	}
	add = time.Since(began)
	began = time.Now()
	if err := n.keeper.Release(ctx, r); err != nil {
		b.Error(err)
	}
	return add, time.Since(began)
}

func median(all []time.Duration) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}

// node is a node with a NIC up0 and the primary network "cluster".
type node struct {
	keeper  *sandbox.Keeper
	cluster cluster
	bin     string
}

func newNode(b testing.TB) *node {
	n := &node{bin: os.Getenv(pluginDir)}
	dir := b.TempDir()
	uplink(b)
	conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"cluster","plugins":[{"type":"bridge","bridge":"cni0","isDefaultGateway":true,
		"ipam":{"type":"host-local","dataDir":%q,"subnet":"10.244.0.0/16"}}]}`, filepath.Join(dir, "primary"))
	write(b, filepath.Join(dir, "net.d", "10-cluster.conflist"), conf)
	l, err := ledger.Open(filepath.Join(dir, "ledger.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	n.cluster = newCluster(b, dir)
	n.keeper = sandbox.New(sandbox.Options{
		Ledger: l, Cluster: n.cluster, Devices: &kubelet{}, Kernel: sandbox.RealKernel(), HostExec: &cni.HostExec{},
		Chains:  attach.New(attach.Deps{Sysfs: vfs{}, Log: log, HostLocalDir: filepath.Join(dir, "networks")}),
		Primary: confdir.NewPrimary(confdir.Options{Dir: filepath.Join(dir, "net.d"), Log: log}), PluginPath: n.bin, DevInfoDir: filepath.Join(dir, "devinfo"),
		Now: time.Now, Log: log,
	})
	return n
}

// uplink makes up0, the master of macvlans: a bridge with a port that has a carrier. A
// veth is no uplink, and a host may have no module for dummies.
func uplink(b testing.TB) {
	b.Helper()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "up0"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		b.Fatal(err)
	}
	port := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up1", MasterIndex: bridge.Index}, PeerName: "up2"}
	if err := netlink.LinkAdd(port); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"lo", "up2", "up1", "up0"} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func write(b testing.TB, path, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// cluster has the pods' annotations in their names, and the networks that they name.
type cluster struct {
	networks map[string]network.Definition
	pods     map[string]string // annotations, by the name of a pod, that are no names
	status   *string           // as last written
}

func newCluster(b testing.TB, dir string) cluster {
	c := cluster{map[string]network.Definition{}, map[string]string{}, new(string)}
	for name, config := range map[string]string{
		"lan":  `{"cniVersion":"1.0.0","type":"macvlan","master":"up0","ipam":{"type":"host-local","subnet":"10.1.0.0/16"}}`,
		"fast": `{"cniVersion":"1.0.0","type":"sriov","ipam":{"type":"host-local","subnet":"10.2.0.0/16"}}`,
		"br": fmt.Sprintf(`{"cniVersion":"1.0.0","type":"bridge","bridge":"br1","ipam":{"type":"host-local","dataDir":%q,"subnet":"10.3.0.0/16"}}`,
			filepath.Join(dir, "br")),
		"gw": `{"cniVersion":"1.0.0","type":"macvlan","master":"up0","ipam":{"type":"static","addresses":[{"address":"10.4.0.2/24","gateway":"10.4.0.1"},{"address":"fd04::2/64","gateway":"fd04::1"}],"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}`,
		"brgw": fmt.Sprintf(`{"cniVersion":"1.0.0","type":"bridge","bridge":"br2","isDefaultGateway":true,"ipam":{"type":"host-local","dataDir":%q,"subnet":"10.5.0.0/24"}}`,
			filepath.Join(dir, "br")),
		"nested": `{"cniVersion":"1.0.0","type":"macvlan","master":"net1","linkInContainer":true,"ipam":{"type":"static","addresses":[{"address":"10.6.0.2/24"}]}}`,
	} {
		annotations := map[string]string{}
		if name == "fast" {
			annotations[network.ResourceAnnotation] = resource
		}
		d, err := network.ParseDefinition("default", name, config, annotations)
		if err != nil {
			b.Fatal(err)
		}
		c.networks[name] = d
	}
	return c
}

func (c cluster) Pod(_ context.Context, namespace, name, uid string) (network.Pod, error) {
	networks, ok := c.pods[name]
	if !ok {
		networks, _, _ = strings.Cut(name, ".")
	}
	return network.Pod{Namespace: namespace, Name: name, UID: uid, Annotations: map[string]string{network.NetworksAnnotation: networks}}, nil
}

func (c cluster) NetAttachDef(_ context.Context, _, name string) (network.Definition, error) {
	return c.networks[name], nil
}
func (c cluster) NetAttachDefSize(_, name string) int { return c.networks[name].Size() }
func (c cluster) SetNetworkStatus(_ context.Context, _ ledger.PodRef, status string) error {
	*c.status = status
	return nil
}
func (cluster) Event(ledger.PodRef, string, string, string) {}

// kubelet gives every pod that asks another VF.
type kubelet struct {
	mu   sync.Mutex // guards next
	next int
}

func (k *kubelet) PodDevices(context.Context, string, string) (map[string][]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next = (k.next + 1) % 256
	return map[string][]string{resource: {fmt.Sprintf("0000:03:%02x.%d", k.next/8, k.next%8)}}, nil
}

func (*kubelet) InUse(context.Context) (map[string][]string, error) { return nil, nil }

// vfs is a /sys whose functions are VFs bound to vfio-pci, with no PF in sight.
type vfs struct{}

func (vfs) VF(a pci.Address) (device.VF, error) {
	return device.VF{Address: a, Driver: "vfio-pci", IOMMUGroup: 7}, nil
}
func (vfs) PF(pci.Address) (device.PF, error)     { return device.PF{}, fs.ErrNotExist }
func (vfs) Netdevs(pci.Address) ([]string, error) { return nil, nil }
func (vfs) NetdevParent(a pci.Address) string     { return a.String() }
func (vfs) FunctionOf(string) (pci.Address, bool) { return pci.Address{}, false }
func (vfs) Driver(pci.Address) (string, error)    { return "vfio-pci", nil }
