package deviceplugin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// bigNode has 8 PFs with 128 VFs each.
func bigNode() []device.PF {
	var pfs []device.PF
	for p := range 8 {
		pf := device.PF{
			Address: pci.Address{Domain: uint32(p)}, Vendor: "15b3", Device: "101d", Driver: "mlx5_core", Netdev: fmt.Sprintf("ens%df0", p),
			LinkType: "ether", NUMANode: p % 2, IOMMUGroup: p, TotalVFs: 128, NumVFs: 128,
		}
		pf.Address.Bus = 0x3b
		for i := range 128 {
			pf.VFs = append(pf.VFs, device.VF{
				Address: pci.Address{Domain: uint32(p), Bus: 0x3b, Device: uint8(1 + i/8), Function: uint8(i % 8)}, PF: pf.Address, Index: i,
				Vendor: "15b3", Device: "101e", Driver: "mlx5_core", Netdev: fmt.Sprintf("ens%df0v%d", p, i), LinkType: "ether", NUMANode: p % 2, IOMMUGroup: 100 + 128*p + i,
			})
		}
		pfs = append(pfs, pf)
	}
	return pfs
}

// bigPools are 8 pools that select a PF's VFs each, in one of the ways.
func bigPools(pfs []device.PF, by string) []device.Pool {
	var pools []device.Pool
	for i, pf := range pfs {
		var s device.Selector
		switch by {
		case "pciAddresses":
			s.PCIAddresses = device.Addresses{}
			for _, vf := range pf.VFs {
				s.PCIAddresses[vf.Address] = true
			}
		case "pfNames":
			s.PFNames = []device.PFRange{{Name: pf.Netdev}}
		case "profile":
			s.NIC, s.Driver = &device.NICSelector{PFNames: []string{pf.Netdev}, PCIAddresses: []string{pf.Address.String()}}, device.KernelDriver
		}
		pools = append(pools, device.Pool{Resource: fmt.Sprintf("f.io/pool%d", i), Source: by, Selectors: []device.Selector{s}})
	}
	return pools
}

// changed is the node after one VF has lost its driver.
func changed(pfs []device.PF) []device.PF {
	out := append([]device.PF(nil), pfs...)
	out[3].VFs = append([]device.VF(nil), pfs[3].VFs...)
	vf := &out[3].VFs[77]
	vf.Driver, vf.Netdev, vf.LinkType = "", "", ""
	return out
}

// devices B8: 1,024 VFs in 8 pools took 973 ms by pciAddresses.
func BenchmarkAssign(b *testing.B) {
	pfs := bigNode()
	s := inventory.NewSnapshot(pfs, nil)
	view := custody.NewView(custody.Facts{Devices: s})
	for _, by := range []string{"pciAddresses", "pfNames", "profile"} {
		pools := bigPools(pfs, by)
		b.Run(by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if a := Assign(s, pools, view); len(a.Pools[7].Devices) != 128 {
					b.Fatalf("pools %d, problems %v", len(a.Pools), a.Problems)
				}
			}
		})
	}
}

// source is an inventory whose snapshots the benchmark chooses.
type source struct {
	mu   sync.Mutex // guards all below
	now  *inventory.Snapshot
	subs []chan *inventory.Snapshot
}

func (s *source) Snapshot() *inventory.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *source) Subscribe() (<-chan *inventory.Snapshot, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan *inventory.Snapshot, 1)
	ch <- s.now
	s.subs = append(s.subs, ch)
	return ch, func() {}
}

func (s *source) set(next *inventory.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = next
	for _, ch := range s.subs {
		select {
		case <-ch:
		default:
		}
		ch <- next
	}
}

// noRecords is a ledger without sandboxes.
type noRecords struct{ *book }

func (noRecords) Entries() []ledger.Entry                   { return nil }
func (noRecords) Entry(string) (e ledger.Entry, ok bool)    { return e, false }
func (noRecords) Allocations() ([]ledger.Allocation, error) { return nil, nil }
func (noRecords) Subscribe() (<-chan ledger.Change, func()) { return nil, func() {} }

// devices B9: from a new snapshot of the devices to the list in the kubelet's stream,
// with custody's part of it. The budget is 10 ms of CPU.
func BenchmarkOneChangeToKubelet(b *testing.B) {
	for _, by := range []string{"pciAddresses", "pfNames", "profile"} {
		b.Run(by, func(b *testing.B) { benchmarkChange(b, by) })
	}
}

func benchmarkChange(b *testing.B, by string) {
	pfs := bigNode()
	snapshots := []*inventory.Snapshot{inventory.NewSnapshot(changed(pfs), nil), inventory.NewSnapshot(pfs, nil)}
	pools := bigPools(pfs, by)
	src := &source{now: snapshots[1]}
	dir, err := os.MkdirTemp("", "dp")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	oracle := custody.New(custody.Sources{Ledger: noRecords{}, Devices: src})
	m := New(Options{Dir: dir, FS: sysfs.New(b.TempDir()), Ledger: noRecords{}, Custody: oracle})
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = oracle.Run(ctx) })
	running.Go(func() { _ = m.Run(ctx) })
	defer running.Wait()
	defer cancel()
	m.Update(snapshots[1], pools)
	lists := listen(ctx, b, filepath.Join(dir, endpointName(dir, "f.io/pool3")))
	await := func(unhealthy int) {
		for {
			if n := countUnhealthy(<-lists); n == unhealthy {
				return
			}
		}
	}
	await(0)
	before := cpu(b)
	i := 0
	for b.Loop() {
		next := snapshots[i%2]
		src.set(next)
		m.Update(next, pools)
		await(1 - i%2)
		i++
	}
	b.ReportMetric(float64(cpu(b)-before)/1e6/float64(i), "cpu-ms/op")
}

// listen is the kubelet's side of a resource's stream.
func listen(ctx context.Context, b *testing.B, socket string) <-chan *v1beta1.ListAndWatchResponse {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	stream, err := v1beta1.NewDevicePluginClient(conn).ListAndWatch(ctx, &v1beta1.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		b.Fatal(err)
	}
	lists := make(chan *v1beta1.ListAndWatchResponse)
	go func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case lists <- resp:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lists
}

func countUnhealthy(resp *v1beta1.ListAndWatchResponse) (n int) {
	for _, d := range resp.Devices {
		if d.Health != v1beta1.Healthy {
			n++
		}
	}
	return n
}

// cpu is the time, in nanoseconds, that this process has used.
func cpu(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
