//go:build root && decodes

package decodes

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/cni/confdir"
	"fairlead.dev/fairlead/cni/shim"
	"fairlead.dev/fairlead/cni/wire"
	"fairlead.dev/fairlead/pkg/attach"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/netns/netnstest"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sandbox"
)

// node is a node with one VF that is bound to vfio-pci, so that it has no netdev. Its
// server, ledger and built-in plugins are the real ones, joined as the agent joins them.
type node struct {
	t      *testing.T
	dir    string
	netns  string
	socket string
}

const (
	vfAddress = "0000:03:02.0"
	resource  = "fairlead.dev/fast"
	// primary is a plugin of the cluster's own network.
	primary = "#!/bin/sh\n" + `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],"ips":[{"address":"10.244.0.5/24","interface":0}]}'; true` + "\n"
)

func newNode(t *testing.T) *node {
	n := &node{t: t, dir: t.TempDir(), netns: netnstest.New(t)}
	n.socket = filepath.Join(n.dir, "cni.sock")
	n.write("net.d/10-cluster.conflist", `{"cniVersion":"1.0.0","name":"cluster","plugins":[{"type":"bridge"},{"type":"portmap","capabilities":{"portMappings":true}}]}`)
	n.age("net.d/10-cluster.conflist")
	n.write("bin/bridge", primary)
	n.write("bin/portmap", "#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] && cat > /dev/null; "+primary[strings.Index(primary, "\n")+1:])
	l, err := ledger.Open(filepath.Join(n.dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	log, fakes := slog.New(slog.DiscardHandler), newCluster(t)
	primaryConf := confdir.NewPrimary(confdir.Options{Dir: filepath.Join(n.dir, "net.d"), Log: log})
	keeper := sandbox.New(sandbox.Options{
		Ledger: l, Cluster: fakes, Devices: kubelet{}, Kernel: sandbox.RealKernel(), HostExec: &cni.HostExec{},
		Chains:  attach.New(attach.Deps{Sysfs: oneVF{}, Log: log, HostLocalDir: filepath.Join(n.dir, "networks")}),
		Primary: primaryConf, PluginPath: filepath.Join(n.dir, "bin"), DevInfoDir: filepath.Join(n.dir, "devinfo"), Now: time.Now, Log: log,
	})
	n.start(cni.New(cni.Options{
		Socket: n.socket, Keeper: keeper, Cluster: fakes, Primary: primaryConf, HostExec: &cni.HostExec{},
		Tombstones: wire.Tombstones{Dir: filepath.Join(n.dir, "tombstones")}, CNIPath: filepath.Join(n.dir, "bin"), Now: time.Now, Log: log,
	}))
	return n
}

func (n *node) start(s *cni.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Serve(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
}

func (n *node) write(name, text string) {
	path := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

// age makes a file older than confdir takes for just written: the primary's conf is
// then parsed when it changes (TestPrimaryIsReadWhenItChanges in cni/confdir).
func (n *node) age(name string) {
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(n.dir, name), before, before); err != nil {
		n.t.Fatal(err)
	}
}

// call runs the shim as the runtime does, within this process.
func (n *node) call(command string) {
	n.t.Helper()
	env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": n.netns, "CNI_IFNAME": "eth0",
		"CNI_PATH": filepath.Join(n.dir, "bin"), "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p;K8S_POD_UID=u"}
	const conf = `{"cniVersion":"1.0.0","name":"fairlead","type":"fairlead","runtimeConfig":{"portMappings":[]}}`
	config := wire.DefaultShimConfig()
	config.Socket, config.TombstoneDir = n.socket, filepath.Join(n.dir, "tombstones")
	var out bytes.Buffer
	code := shim.Shim{Config: config, Getenv: func(key string) string { return env[key] }, Environ: []string{"PATH=" + os.Getenv("PATH")},
		Stdin: strings.NewReader(conf), Stdout: &out, Now: time.Now}.Run(n.t.Context())
	if code != 0 {
		n.t.Fatalf("%s: %s", command, &out)
	}
	// The network status is written to the ledger behind the reply.
	time.Sleep(200 * time.Millisecond)
}

// oneVF is a /sys with the VF of a PF that is not visible, as in a virtual machine.
type oneVF struct{}

func (oneVF) VF(a pci.Address) (device.VF, error) {
	return device.VF{Address: a, Driver: "vfio-pci", IOMMUGroup: 7}, nil
}
func (oneVF) PF(pci.Address) (device.PF, error)     { return device.PF{}, fs.ErrNotExist }
func (oneVF) Netdevs(pci.Address) ([]string, error) { return nil, nil }
func (oneVF) NetdevParent(a pci.Address) string     { return a.String() }
func (oneVF) FunctionOf(string) (pci.Address, bool) { return pci.Address{}, false }
func (oneVF) Driver(pci.Address) (string, error)    { return "vfio-pci", nil }

type kubelet struct{}

func (kubelet) PodDevices(context.Context, string, string) (map[string][]string, error) {
	return map[string][]string{resource: {vfAddress}}, nil
}
func (k kubelet) InUse(ctx context.Context) (map[string][]string, error) {
	return k.PodDevices(ctx, "", "")
}

// cluster has one pod and one network. The network is parsed once, as pkg/kube does it
// (TestNetAttachDefIsParsedOnce there).
type cluster struct{ fast network.Definition }

func newCluster(t *testing.T) cluster {
	t.Helper()
	fast, err := network.ParseDefinition("default", "fast",
		`{"cniVersion":"1.0.0","type":"sriov","ipam":{"type":"host-local","subnet":"10.1.0.0/24"}}`,
		map[string]string{network.ResourceAnnotation: resource})
	if err != nil {
		t.Fatal(err)
	}
	return cluster{fast}
}

func (cluster) Pod(_ context.Context, namespace, name, uid string) (network.Pod, error) {
	return network.Pod{Namespace: namespace, Name: name, UID: uid, Annotations: map[string]string{network.NetworksAnnotation: "fast"}}, nil
}

func (c cluster) NetAttachDef(context.Context, string, string) (network.Definition, error) {
	return c.fast, nil
}
func (c cluster) NetAttachDefSize(string, string) int                         { return c.fast.Size() }
func (cluster) SetNetworkStatus(context.Context, ledger.PodRef, string) error { return nil }
func (cluster) Event(ledger.PodRef, string, string, string)                   {}
func (cluster) Ready() error                                                  { return nil }
