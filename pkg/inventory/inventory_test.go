package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

var (
	pf0 = pci.MustParseAddress("0000:3b:00.0")
	pf1 = pci.MustParseAddress("0000:5e:00.0")
)

// nic returns a PF with n VFs whose netdevs are named after the PF's.
func nic(addr pci.Address, netdev string, n int) device.PF {
	pf := device.PF{
		Address: addr, Vendor: "8086", Device: "10c9", Driver: "igb", Netdev: netdev, MAC: "02:00:00:00:00:01",
		MTU: 1500, LinkType: "ether", OperState: "up", Carrier: true, IOMMUGroup: 7, TotalVFs: max(n, 7),
	}
	for i := range n {
		pf.VFs = append(pf.VFs, device.VF{
			Address: sysfstest.VFAddress(addr, 128, 2, i), PF: addr, Index: i, Vendor: "8086", Device: "10ca",
			Driver: "igbvf", Netdev: fmt.Sprintf("%sv%d", netdev, i), LinkType: "ether",
			MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", addr.Bus, i), MTU: 1500, IOMMUGroup: 10 + i,
		})
	}
	return pf
}

// altNames has a node's altnames.
type altNames map[string][]string

func (a altNames) All() (map[string][]string, error)  { return a, nil }
func (a altNames) Of(netdev string) ([]string, error) { return a[netdev], nil }

// source is a kernel whose events come from the test.
type source struct {
	opened int
	fail   error
	events chan inventory.Event
}

func (s *source) Open(ctx context.Context) (<-chan inventory.Event, error) {
	s.opened++
	if s.fail != nil {
		return nil, s.fail
	}
	s.events = make(chan inventory.Event)
	out := make(chan inventory.Event)
	in := s.events
	go func() {
		defer close(out)
		for {
			select {
			case e, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// text describes a snapshot for people to read.
func text(s *inventory.Snapshot) string {
	var b strings.Builder
	for _, pf := range s.PFs {
		fmt.Fprintf(&b, "%s %s mtu %d %s vfs %d/%d\n", pf.Address, names(pf.Netdev, pf.AltNames), pf.MTU, pf.OperState, pf.NumVFs, pf.TotalVFs)
		for _, vf := range pf.VFs {
			fmt.Fprintf(&b, "  %d %s %s %s\n", vf.Index, vf.Address, vf.Driver, names(vf.Netdev, vf.AltNames))
		}
	}
	for _, vf := range s.Lone {
		fmt.Fprintf(&b, "%s %s %s\n", vf.Address, vf.Driver, names(vf.Netdev, vf.AltNames))
	}
	for _, nic := range s.NICs {
		fmt.Fprintf(&b, "NIC %s %s %s\n", nic.Address, nic.Driver, names(nic.Netdev, nic.AltNames))
	}
	return b.String()
}

func names(netdev string, alt []string) string {
	if netdev == "" {
		netdev = "-"
	}
	return strings.Join(append([]string{netdev}, alt...), "=")
}

func want(t *testing.T, s *inventory.Snapshot, lines string) {
	t.Helper()
	lines = strings.TrimPrefix(strings.ReplaceAll(lines, "\t", ""), "\n")
	if diff := cmp.Diff(lines, text(s)); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestRefreshReadsTheNode(t *testing.T) {
	tree := sysfstest.New(t)
	second := nic(pf1, "ens2f0", 2)
	second.VFs[1].Driver, second.VFs[1].Netdev = "vfio-pci", ""
	tree.AddPF(second)
	tree.AddPF(nic(pf0, "ens1f0", 1))
	inv := inventory.New(inventory.Options{
		FS:       tree.FS(),
		AltNames: altNames{"ens1f0": {"enp59s0f0"}, "ens2f0v0": {"enp94s16"}},
		Eswitch:  func(pci.Address) string { return "legacy" },
		Names:    func(vendor, dev string) (string, string) { return "v" + vendor, "d" + dev },
	})
	if len(inv.Snapshot().PFs) != 0 {
		t.Fatalf("before the first reading: %v, want nothing", inv.Snapshot())
	}
	s, err := inv.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, `
		0000:3b:00.0 ens1f0=enp59s0f0 mtu 1500 up vfs 1/7
		  0 0000:3b:10.0 igbvf ens1f0v0
		0000:5e:00.0 ens2f0 mtu 1500 up vfs 2/7
		  0 0000:5e:10.0 igbvf ens2f0v0=enp94s16
		  1 0000:5e:10.2 vfio-pci -
	`)
	pf, ok := s.PF(pf0)
	if !ok || pf.EswitchMode != "legacy" || pf.VendorName != "v8086" || pf.ProductName != "d10c9" {
		t.Errorf("PF = %+v, %v; want eswitch mode and names", pf, ok)
	}
	vfPF, vf, ok := s.VF(second.VFs[1].Address)
	if !ok || vfPF.Address != pf1 || vf.Index != 1 || !vf.VFIO() {
		t.Errorf("VF = %+v of %s, %v; want VF 1 of %s", vf, vfPF.Address, ok, pf1)
	}
	if _, _, ok := s.VF(pf0); ok {
		t.Error("a PF is found as a VF")
	}
	if s.NumVFs() != 3 {
		t.Errorf("NumVFs = %d, want 3", s.NumVFs())
	}
}

// dp#251, cni#121, reports 9: VFs in a virtual machine, where no PF is visible, and its other NICs.
func TestLoneVFs(t *testing.T) {
	tree := sysfstest.New(t)
	tree.LoadDriver("virtio-pci", "mlx5_core", "e1000e")
	add := func(addr, vendor, dev, driver string) {
		tree.AddVF(device.VF{Address: pci.MustParseAddress(addr), Vendor: vendor, Device: dev, Driver: driver, NUMANode: -1, IOMMUGroup: -1})
	}
	tree.AddNIC(device.PF{Address: pci.MustParseAddress("0000:00:03.0"), Vendor: "1af4", Device: "1000", Driver: "virtio-pci", Netdev: "eth0"}) // the machine's uplink
	add("0000:00:04.0", "8086", "10ca", "igbvf")
	add("0000:00:05.0", "8086", "10ca", "vfio-pci") // by id, since the driver does not show it any more
	add("0000:00:06.0", "15b3", "1018", "mlx5_core")
	add("0000:00:07.0", "15b3", "1017", "mlx5_core") // a whole NIC passed through
	add("0000:00:08.0", "8086", "ffff", "igbvf")     // an unknown id, by its driver
	inv := inventory.New(inventory.Options{FS: tree.FS()})
	s, err := inv.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, `
		0000:00:04.0 igbvf -
		0000:00:05.0 vfio-pci -
		0000:00:06.0 mlx5_core -
		0000:00:08.0 igbvf -
		NIC 0000:00:03.0 virtio-pci eth0
		NIC 0000:00:07.0 mlx5_core -
	`)
	pf, vf, ok := s.VF(pci.MustParseAddress("0000:00:06.0"))
	if !ok || !pf.Address.IsZero() || !vf.PF.IsZero() {
		t.Errorf("lone VF = %+v of %+v, %v; want no PF", vf, pf, ok)
	}
}

// running is an Inventory that follows a tree, in a synctest bubble with fake time.
type running struct {
	*inventory.Inventory
	tree   *sysfstest.Tree
	src    *source
	latest <-chan *inventory.Snapshot
}

// follow runs test with an inventory whose first snapshot has been taken.
func follow(t *testing.T, alt altNames, test func(r running)) {
	tree := sysfstest.New(t)
	tree.AddPF(nic(pf0, "ens1f0", 2))
	tree.AddPF(nic(pf1, "ens2f0", 1))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := running{tree: tree, src: &source{}}
		r.Inventory = inventory.New(inventory.Options{FS: tree.FS(), AltNames: alt, Events: []inventory.Source{r.src}})
		snapshots, unsubscribe := r.Subscribe()
		defer unsubscribe()
		<-snapshots // empty
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		<-snapshots
		r.latest = snapshots
		test(r)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v after its context ended, want nil", err)
		}
	})
}

// next returns the snapshot after events; nil if no snapshot is published before the resync
// could have caused it.
func (r running) next(events ...inventory.Event) *inventory.Snapshot {
	for _, e := range events {
		r.src.events <- e
	}
	select {
	case s := <-r.latest:
		return s
	case <-time.After(time.Minute):
		return nil
	}
}

func netdev(name string) inventory.Event { return inventory.Event{Netdev: name} }

func function(addr pci.Address) inventory.Event { return inventory.Event{Function: addr} }

func TestEventsUpdateWhatTheyName(t *testing.T) {
	first, second := sysfstest.VFAddress(pf0, 128, 2, 0), sysfstest.VFAddress(pf0, 128, 2, 1)
	const rest = "0000:5e:00.0 ens2f0 mtu 1500 up vfs 1/7\n  0 0000:5e:10.0 igbvf ens2f0v0\n"
	tests := map[string]struct {
		change func(*sysfstest.Tree)
		events []inventory.Event
		want   string // empty: no snapshot
	}{
		"MTU of a PF": {
			change: func(tr *sysfstest.Tree) { tr.SetAttr(pf0, "net/ens1f0/mtu", "9000") },
			events: []inventory.Event{netdev("ens1f0")},
			want: `0000:3b:00.0 ens1f0 mtu 9000 up vfs 2/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 igbvf ens1f0v1
				` + rest,
		},
		"a VF moves into a pod": {
			change: func(tr *sysfstest.Tree) { tr.HideNetdev(first) },
			events: []inventory.Event{netdev("ens1f0v0")},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf -
				  1 0000:3b:10.2 igbvf ens1f0v1
				` + rest,
		},
		"a VF is renamed": {
			change: func(tr *sysfstest.Tree) { tr.ShowNetdev(second, "net1") },
			events: []inventory.Event{netdev("net1")},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 igbvf net1=alt1
				` + rest,
		},
		"a driver is bound": {
			change: func(tr *sysfstest.Tree) { must(tr.FS().BindDriver(second, "vfio-pci")) },
			events: []inventory.Event{function(second), netdev("ens1f0v1")},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 vfio-pci -
				` + rest,
		},
		"all VFs are removed (dp#276)": {
			change: func(tr *sysfstest.Tree) { must(tr.FS().SetNumVFs(pf0, 0)) },
			events: []inventory.Event{function(first), function(second)},
			want:   "0000:3b:00.0 ens1f0 mtu 1500 up vfs 0/7\n" + rest,
		},
		"VFs are created (dp#276)": {
			change: func(tr *sysfstest.Tree) {
				must(tr.FS().SetNumVFs(pf0, 0))
				must(tr.FS().SetNumVFs(pf0, 3))
			},
			events: []inventory.Event{function(first), function(sysfstest.VFAddress(pf0, 128, 2, 2))},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 3/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 igbvf ens1f0v1
				  2 0000:3b:10.4 igbvf ens1f0v2
				` + rest,
		},
		"a PF is unplugged": {
			change: func(tr *sysfstest.Tree) { must(tr.FS().SetNumVFs(pf0, 0)); tr.Remove(pf0) },
			events: []inventory.Event{function(first), function(second), function(pf0)},
			want:   rest,
		},
		"a PF is plugged in (op#501)": {
			change: func(tr *sysfstest.Tree) { tr.AddPF(nic(pci.MustParseAddress("0000:01:00.0"), "new0", 0)) },
			events: []inventory.Event{function(pci.MustParseAddress("0000:01:00.0"))},
			want: `0000:01:00.0 new0 mtu 1500 up vfs 0/7
				0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 igbvf ens1f0v1
				` + rest,
		},
		"a lone VF is plugged in": {
			change: func(tr *sysfstest.Tree) {
				tr.AddVF(device.VF{Address: pci.MustParseAddress("0000:00:04.0"), Vendor: "8086", Device: "10ca", Driver: "igbvf"})
			},
			events: []inventory.Event{function(pci.MustParseAddress("0000:00:04.0"))},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 igbvf ens1f0v1
				` + rest + "0000:00:04.0 igbvf -\n",
		},
		"a NIC without SR-IOV is plugged in": {
			change: func(tr *sysfstest.Tree) {
				tr.AddNIC(device.PF{Address: pci.MustParseAddress("0000:00:04.0"), Vendor: "8086", Device: "10d3", Driver: "igb", Netdev: "eth9"})
			},
			events: []inventory.Event{netdev("eth9")},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf ens1f0v0
				  1 0000:3b:10.2 igbvf ens1f0v1
				` + rest + "NIC 0000:00:04.0 igb eth9\n",
		},
		"events were lost": {
			change: func(tr *sysfstest.Tree) { tr.HideNetdev(first) },
			events: []inventory.Event{{Lost: true}},
			want: `0000:3b:00.0 ens1f0 mtu 1500 up vfs 2/7
				  0 0000:3b:10.0 igbvf -
				  1 0000:3b:10.2 igbvf ens1f0v1
				` + rest,
		},
		"an event without a change":    {events: []inventory.Event{netdev("ens1f0"), function(first)}},
		"a netdev without a function":  {events: []inventory.Event{netdev("veth1234")}},
		"a function that is no NIC":    {events: []inventory.Event{function(pci.MustParseAddress("0000:00:1f.2"))}},
		"only what is named is read":   {change: func(tr *sysfstest.Tree) { tr.HideNetdev(second) }, events: []inventory.Event{function(first), function(pf0)}},
		"a VF is read, its PF is left": {change: func(tr *sysfstest.Tree) { tr.SetAttr(pf0, "net/ens1f0/mtu", "9000") }, events: []inventory.Event{function(first)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			follow(t, altNames{"net1": {"alt1"}}, func(r running) {
				if tt.change != nil {
					tt.change(r.tree)
				}
				s := r.next(tt.events...)
				if tt.want == "" {
					if s != nil {
						t.Errorf("a snapshot that tells nothing new: %s", text(s))
					}
					return
				}
				if s == nil {
					t.Fatal("no snapshot after the events")
				}
				want(t, s, tt.want)
			})
		})
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestBurstsAreGathered(t *testing.T) {
	follow(t, nil, func(r running) {
		started := time.Now()
		for i := range 30 { // 20 ms apart: the events never pause, so the longest delay applies
			r.tree.SetAttr(pf0, "net/ens1f0/mtu", fmt.Sprint(2000+i))
			r.src.events <- netdev("ens1f0")
			time.Sleep(20 * time.Millisecond)
			select {
			case s := <-r.latest:
				if waited := time.Since(started); waited < 500*time.Millisecond || waited > 520*time.Millisecond {
					t.Errorf("the burst was read after %v, want the longest delay", waited)
				}
				want(t, s, strings.Replace(text(s), "mtu 1500 up vfs 2", fmt.Sprintf("mtu %d up vfs 2", 2000+i), 1))
				return
			default:
			}
		}
		t.Error("a burst of events is never read")
	})
}

func TestResyncFindsWhatNoEventTold(t *testing.T) {
	follow(t, nil, func(r running) {
		r.tree.HideNetdev(sysfstest.VFAddress(pf1, 128, 2, 0))
		if s := <-r.latest; s.PFs[1].VFs[0].Netdev != "" {
			t.Errorf("after the resync: %s", text(s))
		}
	})
}

func TestFailedSourceIsOpenedAnew(t *testing.T) {
	follow(t, nil, func(r running) {
		r.tree.HideNetdev(sysfstest.VFAddress(pf1, 128, 2, 0)) // an event that is lost when the source ends
		close(r.src.events)
		if s := r.next(); s == nil || s.PFs[1].VFs[0].Netdev != "" {
			t.Errorf("after the source failed: %v, want what was missed", s)
		}
		r.tree.ShowNetdev(sysfstest.VFAddress(pf1, 128, 2, 0), "back")
		if s := r.next(netdev("back")); s == nil || s.PFs[1].VFs[0].Netdev != "back" {
			t.Errorf("from the new source: %v, want the netdev back", s)
		}
		if r.src.opened != 2 {
			t.Errorf("the source was opened %d times, want 2", r.src.opened)
		}
	})
}

// flaky is a kernel that fails to list netdevs a few times.
type flaky struct{ times int }

func (f *flaky) All() (map[string][]string, error) {
	if f.times--; f.times >= 0 {
		return nil, errors.New("dump interrupted")
	}
	return nil, nil
}

func (f *flaky) Of(string) ([]string, error) { return nil, nil }

// Events were lost, and the reading that makes up for them fails: it is repeated soon, not only
// at the next resync.
func TestLostEventsAreMadeUpFor(t *testing.T) {
	tree := sysfstest.New(t)
	tree.AddPF(nic(pf0, "ens1f0", 2))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		src, names := &source{}, &flaky{}
		inv := inventory.New(inventory.Options{FS: tree.FS(), Events: []inventory.Source{src}, AltNames: names})
		go inv.Run(ctx)
		synctest.Wait()
		tree.Remove(sysfstest.VFAddress(pf0, 128, 2, 1)) // its event is among the lost ones
		names.times = 3
		src.events <- inventory.Event{Lost: true}
		begin := time.Now()
		for inv.Snapshot().NumVFs() != 1 && time.Since(begin) < time.Hour {
			time.Sleep(time.Second)
		}
		if after := time.Since(begin); after > 20*time.Second {
			t.Errorf("the VF that is gone was noticed after %v", after)
		}
	})
}

// If one PF cannot be read, its last reading stays, the error names it, and no other PF is
// affected.
func TestOneUnreadablePF(t *testing.T) {
	tree := sysfstest.New(t)
	tree.AddPF(nic(pf0, "ens1f0", 1))
	tree.AddPF(nic(pf1, "ens2f0", 1))
	inv := inventory.New(inventory.Options{FS: tree.FS()})
	if _, err := inv.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	tree.HideNetdev(sysfstest.VFAddress(pf0, 128, 2, 0))
	tree.HideNetdev(sysfstest.VFAddress(pf1, 128, 2, 0))
	tree.SetAttr(pf0, "sriov_totalvfs", "what?")
	s, err := inv.Refresh(t.Context())
	var unread *inventory.UnreadError
	if !errors.As(err, &unread) || len(unread.Causes) != 1 || unread.Causes[pf0] == nil {
		t.Fatalf("Refresh: %v", err)
	}
	want(t, s, `
		0000:3b:00.0 ens1f0 mtu 1500 up vfs 1/7
		  0 0000:3b:10.0 igbvf ens1f0v0
		0000:5e:00.0 ens2f0 mtu 1500 up vfs 1/7
		  0 0000:5e:10.0 igbvf -
	`)
	tree.SetAttr(pf0, "sriov_totalvfs", "7")
	s, err = inv.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, `
		0000:3b:00.0 ens1f0 mtu 1500 up vfs 1/7
		  0 0000:3b:10.0 igbvf -
		0000:5e:00.0 ens2f0 mtu 1500 up vfs 1/7
		  0 0000:5e:10.0 igbvf -
	`)
}

func TestReadsWithoutAnySourceOfEvents(t *testing.T) {
	tree := sysfstest.New(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		src := &source{fail: errors.New("no privilege")}
		inv := inventory.New(inventory.Options{FS: tree.FS(), Events: []inventory.Source{src}})
		snapshots, unsubscribe := inv.Subscribe()
		<-snapshots
		done := make(chan error)
		go func() { done <- inv.Run(ctx) }()
		<-snapshots
		tree.AddPF(nic(pf0, "ens1f0", 0))
		if s := <-snapshots; len(s.PFs) != 1 {
			t.Errorf("next reading: %s, want the new PF", text(s))
		}
		unsubscribe()
		unsubscribe() // a second call does no harm
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}

func TestRefreshStopsWithItsContext(t *testing.T) {
	tree := sysfstest.New(t)
	tree.AddPF(nic(pf0, "ens1f0", 0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inventory.New(inventory.Options{FS: tree.FS()}).Refresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Refresh = %v, want context.Canceled", err)
	}
}

func TestSlowSubscriberGetsTheNewest(t *testing.T) {
	tree := sysfstest.New(t)
	inv := inventory.New(inventory.Options{FS: tree.FS()})
	snapshots, unsubscribe := inv.Subscribe()
	defer unsubscribe()
	for _, addr := range []pci.Address{pf0, pf1} {
		tree.AddPF(nic(addr, "n"+addr.String()[5:7], 0))
		if _, err := inv.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := <-snapshots; len(s.PFs) != 2 {
		t.Errorf("the slow reader gets %d PFs, want 2", len(s.PFs))
	}
	select {
	case s := <-snapshots:
		t.Errorf("an older snapshot comes after: %s", text(s))
	default:
	}
}

func TestDiff(t *testing.T) {
	base := func() []device.PF { return []device.PF{nic(pf0, "ens1f0", 2), nic(pf1, "ens2f0", 1)} }
	lone := device.VF{Address: pci.MustParseAddress("0000:00:04.0")}
	tests := map[string]struct {
		change func([]device.PF) []device.PF
		lone   []device.VF
		want   string
	}{
		"nothing":       {func(p []device.PF) []device.PF { return p }, nil, ""},
		"PF's 2nd port": {func(p []device.PF) []device.PF { p[1].OtherNetdevs = []string{"b"}; return p }, nil, "~0000:5e:00.0"},
		"VF changed":    {func(p []device.PF) []device.PF { p[0].VFs[1].Driver = "vfio-pci"; return p }, nil, "~0000:3b:10.2"},
		"VF gone":       {func(p []device.PF) []device.PF { p[0].VFs = p[0].VFs[:1]; return p }, nil, "-0000:3b:10.2"},
		"PF gone":       {func(p []device.PF) []device.PF { return p[:1] }, nil, "-0000:5e:00.0 -0000:5e:10.0"},
		"PF changed":    {func(p []device.PF) []device.PF { p[1].MTU = 9000; return p }, nil, "~0000:5e:00.0"},
		"PF's list":     {func(p []device.PF) []device.PF { p[1].AltNames = []string{"a"}; return p }, nil, "~0000:5e:00.0"},
		"lone VF added": {func(p []device.PF) []device.PF { return p }, []device.VF{lone}, "+0000:00:04.0"},
		"PF added":      {func(p []device.PF) []device.PF { return append(p, nic(pci.MustParseAddress("0000:01:00.0"), "x", 0)) }, nil, "+0000:01:00.0"},
		"many": {func(p []device.PF) []device.PF { p[0].VFs = nic(pf0, "ens1f0", 12).VFs; return p }, nil,
			"+0000:3b:10.4 +0000:3b:10.6 +0000:3b:11.0 +0000:3b:11.2 +0000:3b:11.4 +0000:3b:11.6 +0000:3b:12.0 +0000:3b:12.2 +(2 more)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := inventory.Diff(inventory.NewSnapshot(base(), nil), inventory.NewSnapshot(tt.change(base()), tt.lone))
			if diff := cmp.Diff(tt.want, c.String()); diff != "" || c.Empty() != (tt.want == "") {
				t.Errorf("Diff (-want +got), Empty %v:\n%s", c.Empty(), diff)
			}
		})
	}
}

// reports 8: NICs without SR-IOV are followed like PFs.
func TestDiffOfNICs(t *testing.T) {
	a, b := device.PF{Address: pf0, Netdev: "a"}, device.PF{Address: pf1, Netdev: "b"}
	renamed := b
	renamed.Netdev = "b2"
	snapshot := func(nics ...device.PF) *inventory.Snapshot { return inventory.NewSnapshot(nil, nil, nics...) }
	for want, now := range map[string]*inventory.Snapshot{
		"":                            snapshot(a, b),
		"-0000:3b:00.0":               snapshot(b),
		"~0000:5e:00.0":               snapshot(a, renamed),
		"-0000:3b:00.0 -0000:5e:00.0": snapshot(),
	} {
		if got := inventory.Diff(snapshot(a, b), now).String(); got != want {
			t.Errorf("Diff %q, want %q", got, want)
		}
	}
	s := snapshot(a, b)
	if _, ok := s.NIC(pf1); !ok || !s.Has(pf0) || s.Has(pci.MustParseAddress("0000:01:00.0")) {
		t.Error("NIC or Has is wrong")
	}
}

// An update and a full reading must give the same snapshot.
func TestUpdateEqualsRefresh(t *testing.T) {
	follow(t, nil, func(r running) {
		must(r.tree.FS().BindDriver(sysfstest.VFAddress(pf0, 128, 2, 1), "vfio-pci"))
		r.tree.SetAttr(pf0, "net/ens1f0/operstate", "down")
		updated := r.next(function(sysfstest.VFAddress(pf0, 128, 2, 1)), netdev("ens1f0"))
		read, err := inventory.New(inventory.Options{FS: r.tree.FS()}).Refresh(context.Background())
		if diff := cmp.Diff(read, updated, cmpopts.IgnoreUnexported(inventory.Snapshot{})); err != nil || diff != "" {
			t.Errorf("%v (-refresh +update):\n%s", err, diff)
		}
	})
}

// counting counts the full readings.
type counting struct{ full atomic.Int32 }

func (c *counting) All() (map[string][]string, error) { c.full.Add(1); return nil, nil }
func (c *counting) Of(string) ([]string, error)       { return nil, nil }

// devices B10: everything was read twice in five minutes, by the resync and by the review
// of profiles.
func TestRefreshPutsTheResyncOff(t *testing.T) {
	tree := sysfstest.New(t)
	synctest.Test(t, func(t *testing.T) {
		readings := &counting{}
		inv := inventory.New(inventory.Options{FS: tree.FS(), AltNames: readings})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- inv.Run(ctx) }()
		for range 12 {
			time.Sleep(5 * time.Minute)
			if _, err := inv.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if n := readings.full.Load(); n != 13 {
			t.Errorf("%d full readings, want the first and 12 of the reviews", n)
		}
		time.Sleep(time.Hour + time.Second)
		if n := readings.full.Load(); n != 13+6 {
			t.Errorf("%d full readings, want one each ten minutes without reviews", n)
		}
		cancel()
		<-done
	})
}

// devices A2: a module that creates a VF's device node causes a new snapshot.
func TestDeviceNodesAreNews(t *testing.T) {
	tree := sysfstest.New(t)
	p := nic(pf0, "ens1f0", 1)
	p.VFs[0].RDMADevices = []string{"mlx5_0"}
	tree.AddPF(p)
	inv := inventory.New(inventory.Options{FS: tree.FS()})
	before, err := inv.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	vf := p.VFs[0].Address
	if err := os.MkdirAll(filepath.Join(tree.Root, "sys/bus/pci/devices", vf.String(), "infiniband_verbs/uverbs0"), 0o755); err != nil {
		t.Fatal(err)
	}
	after, err := inv.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]pci.Address{vf}, inventory.Diff(before, after).Changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}
