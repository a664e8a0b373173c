package deviceplugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// sandbox is a pod's that holds VF i.
func sandbox(i int, resource string) ledger.Sandbox {
	return ledger.Sandbox{
		ID: "s1", Pod: ledger.PodRef{Namespace: "ns", Name: "web"},
		Attachments: []ledger.Attachment{{IfName: "net1", Resource: resource, Phase: ledger.Bound, Members: []ledger.Member{{Device: vfAddr(i)}}}},
	}
}

// m#499, cni#215: while a pod has a VF, the configuration is edited and the VF is
// in another pool. To the kubelet it is a free device there.
func TestHeldVFInAnotherPool(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/old", 0, 1))
	k.sees("f.io/old", "10.0@1 10.2@1")
	if _, err := k.allocate("f.io/old", ids(0)...); err != nil {
		t.Fatal(err)
	}
	n.update(pool("f.io/old", 0, 1))
	k.sees("f.io/old", "10.0@1 10.2@1") // the kubelet knows who has it

	n.update(pool("f.io/new", 0, 1))
	k.sees("f.io/new", "10.0@1(Unhealthy) 10.2@1")
	_, err := k.allocate("f.io/new", ids(0)...)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the kubelet gave it to a container as f.io/old") {
		t.Errorf("the VF is given away a second time: %v", err)
	}
	n.book.free()
	k.sees("f.io/new", "10.0@1 10.2@1") // with no news of the devices
}

// The pod came after the last look at the ledger.
func TestAllocateRefusesAHeldVF(t *testing.T) {
	b := newBench(t, igb(2))
	s, err := inventory.New(inventory.Options{FS: b.tree.FS()}).Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, allocated, attached, want string }{
		{"nobody", "", "-", ""},
		{"allocated under its own resource", "f/fast", "-", ""},
		{"allocated and attached under its own resource", "f/fast", "f/fast", ""},
		{"allocated as another", "f/old", "-", "the kubelet gave it to a container as f/old"},
		{"allocated and attached as another", "f/old", "f/old", "pod ns/web (net1) has it as f/old"},
		{"attached as another", "", "f/old", "pod ns/web (net1) has it as f/old"},
		{"attached by a network that names it", "", "", "pod ns/web (net1) has it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.ledger.free()
			b.desk.late = func(f *custody.Facts) {
				if tt.allocated != "" {
					f.Allocations = []ledger.Allocation{{Resource: tt.allocated, Device: vfAddr(0)}}
				}
				if tt.attached != "-" {
					f.Sandboxes = []ledger.Sandbox{sandbox(0, tt.attached)}
				}
			}
			_, err := b.allocateFrom(s, pool("f/fast", 0, 1), ids(0))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// A node whose own network runs over a VF must not lose it to a pod.
func TestVFThatTheHostUses(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	all := pool("f.io/fast", 0, 1)
	n.update(all)
	k.sees("f.io/fast", "10.0@1 10.2@1")

	// The address comes later, and its event is on its way when the kubelet allocates.
	address := map[string]string{"ens1f0v1": "with the address 192.0.2.1/24"}
	n.desk.setLate(func(f *custody.Facts) { f.Host = address })
	_, err := k.allocate("f.io/fast", ids(1)...)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the host uses its netdev ens1f0v1 with the address 192.0.2.1/24") {
		t.Errorf("the host's VF is given away: %v", err)
	}
	k.sees("f.io/fast", "10.0@1 10.2@1(Unhealthy)")
	n.desk.learn(func(f *custody.Facts) { f.Host = address })
	k.sees("f.io/fast", "10.0@1 10.2@1(Unhealthy)")
	n.desk.setLate(nil)
	n.desk.learn(func(f *custody.Facts) { f.Host = nil })
	k.sees("f.io/fast", "10.0@1 10.2@1")
}

// A VF whose users are unknown is not handed out.
func TestAllocateWhereUsersAreUnknown(t *testing.T) {
	b := newBench(t, igb(2))
	b.desk.err = unix.ENOBUFS
	if _, err := b.allocate(t, pool("f/fast", 0, 1), ids(0)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not known who uses it") {
		t.Errorf("error %v", err)
	}
}

// devices A2, A4, A7, A8, reports 16: what Allocate would refuse is Unhealthy before.
func TestUnfitAndUsedVFsAreUnhealthy(t *testing.T) {
	vfio := func(vfs []device.VF) {
		for i := range vfs {
			vfs[i].Driver, vfs[i].Netdev, vfs[i].VFIOGroup = "vfio-pci", "", fmt.Sprint(10+i)
		}
	}
	failing := sandbox(0, "f/fast")
	failing.Releasing, failing.Failure, failing.Attempts = true, "device is busy", 7
	child := sandbox(0, "")
	child.Attachments[0].Members = []ledger.Member{{Child: &ledger.ChildMember{Uplink: "ens1f0v0"}}}
	for name, tt := range map[string]struct {
		change func(vfs []device.VF)
		pf     func(*device.PF)
		facts  func(*custody.Facts)
		pool   device.Pool
		want   string
	}{
		"A2: vfio without IOMMU group": {
			change: func(vfs []device.VF) { vfio(vfs); vfs[0].VFIOGroup = "" },
			want:   "it is bound to vfio-pci but has no IOMMU group",
		},
		"security: vfio without IOMMU, of a profile": {
			change: func(vfs []device.VF) { vfio(vfs); vfs[0].VFIOGroup = "noiommu-10" },
			want:   "it is bound to vfio-pci without an IOMMU, so a pod could read and write all memory of the node",
		},
		"C8: no driver, since somebody has turned probing off": {
			change: func(vfs []device.VF) { vfs[0].Driver, vfs[0].Netdev = "", "" },
			pf:     func(pf *device.PF) { pf.NoAutoprobe = true },
			want:   "no driver is bound to it: sriov_drivers_autoprobe of PF 0000:3b:00.0 is 0",
		},
		"A2: uio without its device": {
			change: func(vfs []device.VF) { vfs[0].Driver, vfs[0].Netdev = "igb_uio", "" },
			want:   "bound to igb_uio but has no uio device",
		},
		"A2: RDMA without uverbs": {
			change: func(vfs []device.VF) { vfs[0].RDMADevices = []string{"mlx5_0"} },
			pool:   withRDMA(pool("f/fast", 0, 1)), want: "is the module ib_uverbs loaded?",
		},
		"A4, reports 16: netdev in a namespace that nobody has on record": {
			change: func(vfs []device.VF) { vfs[0].Netdev = "" },
			want:   "its netdev is not on the host, and no pod is on record",
		},
		"A4, reports 16: open in a process": {
			change: vfio, facts: func(f *custody.Facts) { f.Open = []pci.Address{vfAddr(0)} },
			want: "a process has it open through VFIO",
		},
		"A4: children of pods on its netdev": {
			facts: func(f *custody.Facts) { f.Sandboxes = []ledger.Sandbox{child} },
			want:  "pod ns/web (net1) has a link on its netdev ens1f0v0",
		},
		"A4: given out as another resource": {
			facts: func(f *custody.Facts) {
				f.Grants = []custody.Grant{{Resource: "other.io/vf", DeviceID: vfAddr(0).String(), Pod: ledger.PodRef{Namespace: "ns", Name: "db"}}}
			},
			want: "the kubelet gave it to pod ns/db as other.io/vf",
		},
		"A7: another VF of its IOMMU group is allocated": {
			change: vfio, facts: func(f *custody.Facts) {
				f.Groups = map[int][]sysfs.GroupMember{10: {{Address: vfAddr(0)}, {Address: vfAddr(2)}}}
				f.Allocations = []ledger.Allocation{{Resource: "f/fast", Device: vfAddr(2)}}
			},
			want: "which is in the same IOMMU group",
		},
		"A7: a member of its IOMMU group has a kernel driver": {
			change: vfio, facts: func(f *custody.Facts) {
				f.Groups = map[int][]sysfs.GroupMember{10: {{Address: vfAddr(0)}, {Address: pci.MustParseAddress("0000:00:1b.0"), Driver: "snd_hda_intel"}}}
			},
			want: "bound to snd_hda_intel",
		},
		"A8: its release fails": {
			facts: func(f *custody.Facts) {
				f.Sandboxes = []ledger.Sandbox{failing}
				f.Allocations = []ledger.Allocation{{Resource: "f/fast", Device: vfAddr(0)}}
			},
			want: "its release has failed 7 times, with: device is busy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pf := igb(2)
			if tt.change != nil {
				tt.change(pf.VFs)
			}
			if tt.pf != nil {
				tt.pf(&pf)
			}
			facts := custody.Facts{Devices: inventory.NewSnapshot([]device.PF{pf}, nil)}
			if tt.facts != nil {
				tt.facts(&facts)
			}
			if tt.pool.Resource == "" {
				tt.pool = pool("f/fast", 0, 1)
			}
			a := Assign(facts.Devices, []device.Pool{tt.pool}, custody.NewView(facts))
			if len(a.Pools[0].Devices) == 0 || !strings.Contains(a.Pools[0].Devices[0].Reason, tt.want) {
				t.Errorf("devices %+v, want the reason %q", a.Pools[0].Devices, tt.want)
			}
		})
	}
}

// devices B2: the driver of a group is edited while pods have its VFs. They stay Healthy,
// or the node's free VFs would not be used, and get the new driver when they are free.
func TestHeldVFsOutliveAnEditOfTheDriver(t *testing.T) {
	dpdk := pool("f/dpdk", 0, 2)
	dpdk.Selectors[0].Driver = "vfio-pci"
	facts := custody.Facts{
		Devices:     inventory.NewSnapshot([]device.PF{igb(3)}, nil),
		Allocations: []ledger.Allocation{{Resource: "f/dpdk", Device: vfAddr(0)}, {Resource: "f/dpdk", Device: vfAddr(1)}},
		Sandboxes:   []ledger.Sandbox{sandbox(1, "f/dpdk")},
	}
	const want = "f/dpdk 0 1 2(it is bound to igbvf, and the profile asks for vfio-pci)\n"
	if diff := cmp.Diff(want, text(Assign(facts.Devices, []device.Pool{dpdk}, custody.NewView(facts)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	facts.Allocations, facts.Sandboxes = nil, nil
	if a := Assign(facts.Devices, []device.Pool{dpdk}, custody.NewView(facts)); a.Pools[0].Devices[0].Healthy() {
		t.Error("a free VF with the old driver is Healthy")
	}
}

// devices B2: the PF's number of VFs or MTU is looked at meanwhile.
func TestHeldVFStaysHealthyAfterItsPFWasWithheld(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/dpdk", 0, 0))
	k.sees("f.io/dpdk", "10.0@1")
	if _, err := k.allocate("f.io/dpdk", ids(0)...); err != nil {
		t.Fatal(err)
	}
	edited := pool("f.io/dpdk", 0, 0)
	edited.Selectors[0].Driver = "vfio-pci"
	n.update(edited)
	end, err := n.Withhold([]pci.Address{pfAddr}, func(pci.Address) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	end()
	if d := n.State().Pools[0].Devices[0]; !d.Healthy() || n.suspects.any() {
		t.Errorf("its reason is %q", d.Reason)
	}
	n.book.free()
	k.sees("f.io/dpdk", "10.0@1(Unhealthy)")
}

// devices A2: every refusal is a reason in the list at once, and goes when its cause has
// gone.
func TestRefusalsBecomeReasons(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/fast", 0, 1))
	k.sees("f.io/fast", "10.0@1 10.2@1")
	reason := func() string { return n.State().Pools[0].Devices[0].Reason }
	refuse := func(want string) {
		t.Helper()
		if _, err := k.allocate("f.io/fast", ids(0)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Allocate: %v, want %q", err, want)
		}
		k.sees("f.io/fast", "10.0@1(Unhealthy) 10.2@1")
		if got := reason(); !strings.Contains(got, want) {
			t.Errorf("its reason is %q, want %q", got, want)
		}
	}
	n.book.fail(unix.ENOSPC)
	refuse("no space left")
	n.book.fail(nil)
	k.sees("f.io/fast", "10.0@1 10.2@1")

	n.desk.fail(unix.ENOBUFS)
	refuse("not known who uses it")
	n.desk.fail(nil)
	k.sees("f.io/fast", "10.0@1 10.2@1")

	n.tree.RefuseDriver(vfAddr(0), "vfio-pci") // unbound, and the event is on its way
	(&bench{tree: n.tree}).unbind(0)
	refuse("no driver is bound to it")
	if err := n.tree.FS().BindDriver(vfAddr(0), "igbvf"); err != nil {
		t.Fatal(err)
	}
	k.sees("f.io/fast", "10.0@1 10.2@1")
}

// The kubelet writes a checkpoint into its directory at each allocation of any plugin.
// These events must not put off the look at a VF that Allocate has refused.
func TestOtherPluginsDoNotPutOffTheRecheck(t *testing.T) {
	dir := shortDir(t)
	k := startKubelet(t, dir)
	n := newNode(t, dir)
	n.update(pool("f.io/fast", 0, 1))
	k.sees("f.io/fast", "10.0@1 10.2@1")
	n.book.fail(unix.ENOSPC)
	if _, err := k.allocate("f.io/fast", ids(0)...); err == nil {
		t.Fatal("the allocation was not refused")
	}
	k.sees("f.io/fast", "10.0@1(Unhealthy) 10.2@1")
	n.book.fail(nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(stopped)
		for ticks := time.Tick(n.opts.Recheck / 10); ; {
			select {
			case <-stop:
				return
			case <-ticks:
				_ = os.WriteFile(filepath.Join(dir, "kubelet_internal_checkpoint"), nil, 0o600)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	k.sees("f.io/fast", "10.0@1 10.2@1")
}

// A request without devices is answered even if custody does not answer.
func TestAllocateNothingWhereUsersAreUnknown(t *testing.T) {
	b := newBench(t, igb(1))
	b.desk.fail(unix.ENOBUFS)
	if _, err := b.allocate(t, pool("f.io/fast", 0, 1), nil); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
}
