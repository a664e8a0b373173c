package deviceplugin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// book is a ledger that remembers or fails, and reports to custody.
type book struct {
	desk *desk

	mu   sync.Mutex // guards all below
	kept []ledger.Allocation
	err  error // of writing
}

func (b *book) PutAllocations(a []ledger.Allocation) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	b.kept = append(b.kept, a...)
	b.desk.allocated(slices.Clone(b.kept))
	return nil
}

func (b *book) allocations() []ledger.Allocation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.kept)
}

func (b *book) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// free forgets everybody.
func (b *book) free() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = nil
	b.desk.learn(func(f *custody.Facts) { f.Allocations, f.Sandboxes = nil, nil })
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bench is one pool on a simulated node.
type bench struct {
	tree   *sysfstest.Tree
	ledger *book
	desk   *desk
	opts   Options
}

func newBench(t *testing.T, pf device.PF) *bench {
	tree := sysfstest.New(t)
	tree.AddPF(pf)
	return newBenchOn(t, tree)
}

func newBenchOn(t *testing.T, tree *sysfstest.Tree) *bench {
	b := &bench{tree: tree, desk: newDesk()}
	b.ledger = &book{desk: b.desk}
	b.opts = New(Options{
		FS: tree.FS(), Ledger: b.ledger, Custody: b.desk, DeviceInfoDir: t.TempDir(), Now: func() time.Time { return now },
		RDMANodes: func(name string) []string {
			return []string{"/dev/infiniband/uverbs" + name[len(name)-1:], "/dev/infiniband/rdma_cm"}
		},
		Representor: func(uplink string, index int) (string, error) { return uplink + "_rep", nil },
	}).opts
	return b
}

// allocate asks for VFs by index, one list for each container.
func (b *bench) allocate(t *testing.T, p device.Pool, containers ...[]string) (*v1beta1.AllocateResponse, error) {
	t.Helper()
	s, err := inventory.New(inventory.Options{FS: b.tree.FS()}).Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b.allocateFrom(s, p, containers...)
}

func (b *bench) allocateFrom(s *inventory.Snapshot, p device.Pool, containers ...[]string) (*v1beta1.AllocateResponse, error) {
	srv := newServer(p.Resource, &b.opts, newSuspects())
	b.desk.devices(s)
	for _, pool := range Assign(s, []device.Pool{p}, b.desk.View()).Pools {
		srv.set(pool.Devices)
	}
	req := &v1beta1.AllocateRequest{}
	for _, ids := range containers {
		req.ContainerRequests = append(req.ContainerRequests, &v1beta1.ContainerAllocateRequest{DevicesIds: ids})
	}
	return srv.Allocate(context.Background(), req)
}

func ids(indexes ...int) []string {
	var out []string
	for _, i := range indexes {
		out = append(out, vfAddr(i).String())
	}
	return out
}

// lines is a response as a human would note it.
func lines(resp *v1beta1.AllocateResponse) []string {
	var out []string
	for _, c := range resp.GetContainerResponses() {
		var env []string
		for k, v := range c.Envs {
			env = append(env, k+"="+v)
		}
		slices.Sort(env)
		out = append(out, env...)
		for _, d := range c.Devices {
			out = append(out, d.HostPath+" "+d.ContainerPath+" "+d.Permissions)
		}
	}
	return out
}

func TestAllocate(t *testing.T) {
	vfio := func(vfs ...int) device.PF {
		pf := igb(3)
		for _, i := range vfs {
			pf.VFs[i].Driver, pf.VFs[i].Netdev = "vfio-pci", ""
		}
		return pf
	}
	const env = "PCIDEVICE_F_FAST"
	tests := map[string]struct {
		pf         device.PF
		pool       device.Pool
		prepare    func(*sysfstest.Tree)
		containers [][]string
		want       []string
	}{
		"kernel VFs, in the kubelet's order": {
			pf: igb(3), pool: pool("f/fast", 0, 2), containers: [][]string{ids(2, 0)},
			want: []string{
				env + "=0000:3b:10.4,0000:3b:10.0",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"}},"0000:3b:10.4":{"generic":{"deviceID":"0000:3b:10.4"}}}`,
			},
		},
		"two containers": {
			pf: igb(3), pool: pool("f/fast", 0, 2), containers: [][]string{ids(0), ids(1)},
			want: []string{
				env + "=0000:3b:10.0", env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"}}}`,
				env + "=0000:3b:10.2", env + `_INFO={"0000:3b:10.2":{"generic":{"deviceID":"0000:3b:10.2"}}}`,
			},
		},
		"vfio": {
			pf: vfio(0, 1), pool: pool("f/fast", 0, 2), containers: [][]string{ids(0, 1)},
			want: []string{
				env + "=0000:3b:10.0,0000:3b:10.2",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"},"vfio":{"dev-mount":"/dev/vfio/10","mount":"/dev/vfio/vfio"}},` +
					`"0000:3b:10.2":{"generic":{"deviceID":"0000:3b:10.2"},"vfio":{"dev-mount":"/dev/vfio/11","mount":"/dev/vfio/vfio"}}}`,
				"/dev/vfio/vfio /dev/vfio/vfio rw", "/dev/vfio/10 /dev/vfio/10 rw", "/dev/vfio/11 /dev/vfio/11 rw",
			},
		},
		"vfio without IOMMU, of a profile that accepts it": {
			pf: vfio(0), pool: unsafeDMA(pool("f/fast", 0, 2)), containers: [][]string{ids(0)},
			prepare: func(tr *sysfstest.Tree) { tr.SetNoIOMMU(vfAddr(0)) },
			want: []string{
				env + "=0000:3b:10.0",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"},"vfio":{"dev-mount":"/dev/vfio/noiommu-10","mount":"/dev/vfio/vfio"}}}`,
				"/dev/vfio/vfio /dev/vfio/vfio rw", "/dev/vfio/noiommu-10 /dev/vfio/noiommu-10 rw",
			},
		},
		"vfio without IOMMU, of the device plugin's ConfigMap": {
			pf: vfio(0), pool: selecting("f/fast", device.Selector{Vendors: []string{"8086"}, Drivers: []string{"vfio-pci"}}), containers: [][]string{ids(0)},
			prepare: func(tr *sysfstest.Tree) { tr.SetNoIOMMU(vfAddr(0)) },
			want: []string{
				env + "=0000:3b:10.0",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"},"vfio":{"dev-mount":"/dev/vfio/noiommu-10","mount":"/dev/vfio/vfio"}}}`,
				"/dev/vfio/vfio /dev/vfio/vfio rw", "/dev/vfio/noiommu-10 /dev/vfio/noiommu-10 rw",
			},
		},
		"vhost-net, and what the configuration adds": {
			pf: igb(1), containers: [][]string{ids(0)}, prepare: addVhost,
			pool: func() device.Pool {
				p := pool("f/fast", 0, 0)
				p.NeedVhostNet = true
				p.AdditionalInfo = map[string]map[string]string{"*": {"rack": "7", "port": "a"}, "0000:3b:10.0": {"port": "b"}, "0000:3b:10.2": {"port": "c"}}
				return p
			}(),
			want: []string{
				env + "=0000:3b:10.0",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"},"vhost":{"net-mount":"/dev/vhost-net","tun-mount":"/dev/net/tun"},"extra":{"port":"b","rack":"7"}}}`,
				"/dev/vhost-net /dev/vhost-net rw", "/dev/net/tun /dev/net/tun rw",
			},
		},
		"RDMA for those VFs whose selector asks for it": {
			pf: func() device.PF {
				p := igb(2)
				p.VFs[0].RDMADevices, p.VFs[0].Verbs = []string{"mlx5_3"}, []string{"uverbs3"}
				return p
			}(),
			pool: func() device.Pool {
				p := withRDMA(pool("f/fast", 0, 0))
				p.Selectors = append(p.Selectors, pool("", 1, 1).Selectors...)
				return p
			}(), containers: [][]string{ids(1), ids(0)},
			want: []string{
				env + "=0000:3b:10.2",
				env + `_INFO={"0000:3b:10.2":{"generic":{"deviceID":"0000:3b:10.2"}}}`,
				env + "=0000:3b:10.0",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"},"rdma":{"rdma_cm":"/dev/infiniband/rdma_cm","uverbs":"/dev/infiniband/uverbs3"}}}`,
				"/dev/infiniband/uverbs3 /dev/infiniband/uverbs3 rw", "/dev/infiniband/rdma_cm /dev/infiniband/rdma_cm rw",
			},
		},
		"RDMA": {
			pf: func() device.PF {
				p := igb(1)
				p.VFs[0].RDMADevices, p.VFs[0].Verbs = []string{"mlx5_3"}, []string{"uverbs3"}
				return p
			}(),
			pool: withRDMA(pool("f/fast", 0, 0)), containers: [][]string{ids(0)},
			want: []string{
				env + "=0000:3b:10.0",
				env + `_INFO={"0000:3b:10.0":{"generic":{"deviceID":"0000:3b:10.0"},"rdma":{"rdma_cm":"/dev/infiniband/rdma_cm","uverbs":"/dev/infiniband/uverbs3"}}}`,
				"/dev/infiniband/uverbs3 /dev/infiniband/uverbs3 rw", "/dev/infiniband/rdma_cm /dev/infiniband/rdma_cm rw",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tt.pf)
			if tt.prepare != nil {
				tt.prepare(b.tree)
			}
			resp, err := b.allocate(t, tt.pool, tt.containers...)
			if diff := cmp.Diff(tt.want, lines(resp)); err != nil || diff != "" {
				t.Fatalf("%v (-want +got):\n%s", err, diff)
			}
			var recorded []string
			for _, a := range b.ledger.kept {
				recorded = append(recorded, a.Device.String())
				if a.Resource != tt.pool.Resource || !a.At.Equal(now) {
					t.Errorf("recorded %+v, want resource %s at %v", a, tt.pool.Resource, now)
				}
			}
			if diff := cmp.Diff(slices.Concat(tt.containers...), recorded); diff != "" {
				t.Errorf("on record (-want +got):\n%s", diff)
			}
		})
	}
}

// addVhost loads the host's modules vhost_net and tun.
func addVhost(tr *sysfstest.Tree) {
	for _, node := range []string{"dev/vhost-net", "dev/net/tun"} {
		path := filepath.Join(tr.Root, node)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			panic(err)
		}
	}
}

// devices C2: a container does not start with a device that the host does not have.
func TestVhostNodesThatTheHostLacks(t *testing.T) {
	b := newBench(t, igb(1))
	p := pool("f/fast", 0, 0)
	p.NeedVhostNet = true
	resp, err := b.allocate(t, p, ids(0))
	if err != nil || strings.Contains(strings.Join(lines(resp), " "), "vhost") {
		t.Errorf("%v, %v; want the VF without vhost-net", lines(resp), err)
	}
	want := []string{
		"f/fast (test f/fast): needVhostNet is set, and the host has no /dev/net/tun: pods get their VFs without it; load the module tun",
		"f/fast (test f/fast): needVhostNet is set, and the host has no /dev/vhost-net: pods get their VFs without it; load the module vhost_net",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), problem.Join(missingVhost(&b.opts, []device.Pool{p}), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	addVhost(b.tree)
	if got := missingVhost(&b.opts, []device.Pool{p}); got != nil {
		t.Errorf("problems %v, want none", got)
	}
}

func TestAllocateUIO(t *testing.T) {
	pf := igb(1)
	pf.VFs[0].Driver, pf.VFs[0].Netdev = "igb_uio", ""
	tree := sysfstest.New(t)
	tree.LoadDriver("igb_uio")
	tree.AddPF(pf)
	b := newBench(t, igb(0))
	b.tree, b.opts.FS = tree, tree.FS()
	if _, err := b.allocate(t, pool("f/fast", 0, 0), ids(0)); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "has no uio device") {
		t.Errorf("without a uio device: %v", err)
	}
	tree.AddUIO(vfAddr(0), "uio4")
	resp, err := b.allocate(t, pool("f/fast", 0, 0), ids(0))
	if err != nil || !slices.Contains(lines(resp), "/dev/uio4 /dev/uio4 rw") {
		t.Errorf("%v, %v; want /dev/uio4", lines(resp), err)
	}
}

// Nothing is handed out, recorded or written if any part of a request cannot be met.
func TestAllocateRefuses(t *testing.T) {
	vfio := igb(2)
	vfio.VFs[0].Driver, vfio.VFs[0].Netdev = "vfio-pci", ""
	noGroup := igb(2)
	noGroup.VFs[0].Driver, noGroup.VFs[0].Netdev, noGroup.VFs[0].IOMMUGroup = "vfio-pci", "", -1
	rebind := func(b *bench) {
		b.tree.LoadDriver("vfio-pci")
		if err := b.tree.FS().BindDriver(vfAddr(0), "vfio-pci"); err != nil {
			panic(err)
		}
	}
	kernel, igbvf := pool("f/fast", 0, 1), pool("f/fast", 0, 1)
	kernel.Selectors[0].Driver, igbvf.Selectors[0].Drivers = device.KernelDriver, []string{"igbvf"}
	unbound := igb(2)
	unbound.VFs[0].Driver = ""
	rdma := withRDMA(pool("f/fast", 0, 1))
	noVerbs := igb(2)
	noVerbs.VFs[0].RDMADevices, noVerbs.VFs[1].RDMADevices = []string{"mlx5_3"}, []string{"mlx5_4"}
	noVerbs.VFs[1].Verbs = []string{"uverbs4"}
	tests := map[string]struct {
		pf      device.PF
		pool    device.Pool
		ids     []string
		prepare func(*bench) // after the snapshot was taken
		code    codes.Code
		text    string
	}{
		"unknown device":             {igb(2), pool("f/fast", 0, 1), []string{"0000:ff:00.0"}, nil, codes.NotFound, "0000:ff:00.0 of f/fast: it is not among the devices"},
		"device of another pool":     {igb(2), pool("f/fast", 1, 1), ids(0), nil, codes.NotFound, "not among the devices"},
		"no address at all":          {igb(2), pool("f/fast", 0, 1), []string{"eth0"}, nil, codes.NotFound, "device eth0"},
		"unhealthy device":           {unbound, pool("f/fast", 0, 1), ids(0), nil, codes.FailedPrecondition, "no driver is bound to it"},
		"vfio without IOMMU group":   {noGroup, pool("f/fast", 0, 1), ids(0), nil, codes.FailedPrecondition, "enable the IOMMU"},
		"VF vanished":                {igb(2), pool("f/fast", 0, 1), ids(0), func(b *bench) { b.tree.Remove(vfAddr(0)) }, codes.NotFound, "vanished"},
		"driver unbound":             {igb(2), pool("f/fast", 0, 1), ids(0), func(b *bench) { b.tree.RefuseDriver(vfAddr(0), "vfio-pci"); b.unbind(0) }, codes.FailedPrecondition, "no driver"},
		"not the profile's driver":   {igb(2), kernel, ids(0), rebind, codes.FailedPrecondition, "the profile asks for the kernel's own driver"},
		"no longer selected":         {igb(2), igbvf, ids(0), rebind, codes.FailedPrecondition, "which the pool does not select"},
		"RDMA without uverbs":        {noVerbs, rdma, ids(0), nil, codes.FailedPrecondition, "ib_uverbs"},
		"ledger's disk is full":      {vfio, pool("f/fast", 0, 1), ids(0), func(b *bench) { b.ledger.err = unix.ENOSPC }, codes.Internal, "no space left"},
		"device-info cannot be kept": {vfio, pool("f/fast", 0, 1), ids(0), func(b *bench) { b.opts.DeviceInfoDir = "/proc/none" }, codes.Internal, "write its device information"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tt.pf)
			s, err := inventory.New(inventory.Options{FS: b.tree.FS()}).Refresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tt.prepare != nil {
				tt.prepare(b)
			}
			// A container that can be served comes first: it gets nothing, either.
			resp, err := b.allocateFrom(s, tt.pool, ids(1), tt.ids)
			if resp != nil || status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Allocate = %v, %v; want code %v and %q", resp, err, tt.code, tt.text)
			}
			if len(b.ledger.kept) != 0 {
				t.Errorf("on record: %v, want nothing", b.ledger.kept)
			}
		})
	}
}

func (b *bench) unbind(i int) {
	if err := b.tree.WriteAttr(filepath.Join(b.tree.Root, "sys/bus/pci/devices", vfAddr(i).String(), "driver/unbind"), []byte(vfAddr(i).String())); err != nil {
		panic(err)
	}
}

func TestDeviceInfoFiles(t *testing.T) {
	pf := igb(1)
	pf.VFs[0].RDMADevices, pf.VFs[0].Verbs = []string{"mlx5_3"}, []string{"uverbs3"}
	p := withRDMA(pool("fairlead.dev/fast", 0, 1))
	p.NeedVhostNet = true
	tests := map[string]struct {
		eswitch string
		rep     func(string, int) (string, error)
		want    string
	}{
		"legacy": {
			"legacy", nil,
			`{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:10.0","vhost-net":"/dev/vhost-net","rdma-device":"mlx5_3","pf-pci-address":"0000:3b:00.0"}}`,
		},
		"switchdev": {
			"switchdev", nil,
			`{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:10.0","vhost-net":"/dev/vhost-net","rdma-device":"mlx5_3","pf-pci-address":"0000:3b:00.0","representor-device":"ens1f0_rep"}}`,
		},
		"switchdev, no representor": {
			"switchdev", func(string, int) (string, error) { return "", errors.New("none") },
			`{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:10.0","vhost-net":"/dev/vhost-net","rdma-device":"mlx5_3","pf-pci-address":"0000:3b:00.0"}}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, pf)
			if tt.rep != nil {
				b.opts.Representor = tt.rep
			}
			inv := inventory.New(inventory.Options{FS: b.tree.FS(), Eswitch: func(pci.Address) string { return tt.eswitch }})
			s, err := inv.Refresh(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			addVhost(b.tree)
			for range 2 { // again: after a restart, for the next pod
				if _, err := b.allocateFrom(s, p, ids(0)); err != nil {
					t.Fatal(err)
				}
			}
			dir := filepath.Join(b.opts.DeviceInfoDir, "dp")
			got, err := os.ReadFile(filepath.Join(dir, "fairlead.dev-fast-0000:3b:10.0-device.json"))
			if diff := cmp.Diff(tt.want, string(got)); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("%d files in %s (%v), want one and no temporary", len(entries), dir, err)
			}
		})
	}
}
