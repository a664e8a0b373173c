package deviceplugin

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1beta1 "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	"pgregory.net/rapid"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs/sysfstest"
)

// TestMain bounds the properties: each of their nodes is a tree of some hundred files.
// 'go test -rapid.checks=1000' looks at more of them.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	os.Exit(m.Run()) // which parses the command line
}

// anyNode is a generated node: a tree, its users, and the pool of all its VFs.
type anyNode struct {
	tree   *sysfstest.Tree
	inv    *inventory.Inventory
	users  *custody.Oracle
	m      *Manager
	srv    *server
	ledger *records
	host   map[string]custody.HostLink
	open   map[string]bool // groups in /dev/vfio that a process has open
	pool   device.Pool
}

// records is a ledger of plain values.
type records struct {
	sandboxes   []ledger.Sandbox
	allocations map[pci.Address]ledger.Allocation
	fails       bool
}

func (r *records) Entries() []ledger.Entry {
	var all []ledger.Entry
	for _, s := range r.sandboxes {
		all = append(all, s.Entry())
	}
	return all
}

func (r *records) Entry(id string) (ledger.Entry, bool) {
	i := slices.IndexFunc(r.sandboxes, func(s ledger.Sandbox) bool { return s.ID == id })
	if i < 0 {
		return ledger.Entry{}, false
	}
	return r.sandboxes[i].Entry(), true
}

func (r *records) Subscribe() (<-chan ledger.Change, func()) { return nil, func() {} }

func (r *records) Allocations() ([]ledger.Allocation, error) {
	return slices.Collect(maps.Values(r.allocations)), nil
}

func (r *records) PutAllocations(all []ledger.Allocation) error {
	if r.fails {
		return unix.ENOSPC
	}
	for _, a := range all {
		r.allocations[a.Device] = a
	}
	return nil
}

// Watch and Of make a node a custody.HostUse.
func (n *anyNode) Watch(context.Context) (<-chan map[string]custody.HostLink, error) {
	return nil, errors.New("the property has no events")
}

func (n *anyNode) Of(netdev string) (custody.HostLink, error) { return n.host[netdev], nil }

const anyResource = "f.io/any"

func drawNode(rt *rapid.T, t *testing.T) *anyNode {
	n := &anyNode{
		tree: sysfstest.New(t), host: map[string]custody.HostLink{}, open: map[string]bool{},
		ledger: &records{allocations: map[pci.Address]ledger.Allocation{}}, pool: pool(anyResource, 0, 6),
	}
	n.tree.LoadDriver("igb_uio")
	n.pool.Selectors[0].Driver = rapid.SampledFrom([]string{"", "", device.KernelDriver, "vfio-pci"}).Draw(rt, "the pool's driver")
	n.pool.Selectors[0].RDMA = rapid.Bool().Draw(rt, "the pool's RDMA")
	n.pool.RDMA, n.pool.NeedVhostNet = n.pool.Selectors[0].RDMA, rapid.Bool().Draw(rt, "needVhostNet")
	pf := igb(0)
	for i := range rapid.IntRange(1, 4).Draw(rt, "VFs") {
		pf.VFs = append(pf.VFs, drawVF(rt, i))
	}
	n.tree.AddPF(pf)
	for i := range pf.VFs {
		n.drawUse(rt, &pf.VFs[i])
	}
	n.addWhole(rt)
	fs := n.tree.FS().WithOpener(func(path string) error {
		if n.open[filepath.Base(path)] {
			return unix.EBUSY
		}
		return nil
	})
	n.inv = inventory.New(inventory.Options{FS: fs})
	n.refresh(t)
	n.users = custody.New(custody.Sources{Ledger: n.ledger, Devices: n.inv, Functions: fs})
	n.m = New(Options{Dir: t.TempDir(), DeviceInfoDir: t.TempDir(), FS: fs, Ledger: n.ledger, Custody: n.users, RDMANodes: func(string) []string { return nil }})
	n.srv = newServer(anyResource, &n.m.opts, n.m.suspects)
	n.m.servers[anyResource] = n.srv
	return n
}

// addWhole adds whole functions to the node and to the pool: PFs without VFs, and NICs without
// SR-IOV.
func (n *anyNode) addWhole(rt *rapid.T) {
	n.tree.LoadDriver("mlx5_core", "e1000e")
	n.pool.Selectors = append(n.pool.Selectors, device.Selector{Vendors: []string{"15b3"}}, device.Selector{Devices: []string{"10d3"}})
	for i := range rapid.IntRange(0, 3).Draw(rt, "whole functions") {
		pf, add := mlx(i+40, fmt.Sprintf("whole%d", i)), n.tree.AddPF
		if rapid.Bool().Draw(rt, "without SR-IOV") {
			pf, add = plain(i+40, pf.Netdev), n.tree.AddNIC
		}
		pf.Driver = rapid.SampledFrom([]string{pf.Driver, pf.Driver, "vfio-pci", ""}).Draw(rt, "driver")
		if pf.Driver == "" || pf.Whole().Userspace() {
			pf.Netdev = ""
		}
		add(pf)
		whole := pf.Whole()
		n.drawUse(rt, &whole)
	}
}

func drawVF(rt *rapid.T, i int) device.VF {
	vf := igb(i + 1).VFs[i]
	vf.Driver = rapid.SampledFrom([]string{"igbvf", "igbvf", "vfio-pci", "vfio-pci", "igb_uio", ""}).Draw(rt, "driver")
	vf.IOMMUGroup = rapid.SampledFrom([]int{-1, 10, 10 + i}).Draw(rt, "group")
	if vf.Userspace() || vf.Driver == "" {
		vf.Netdev = ""
	}
	if vf.Driver == "igb_uio" && rapid.Bool().Draw(rt, "has a uio device") {
		vf.UIO = fmt.Sprintf("uio%d", i)
	}
	if rapid.Bool().Draw(rt, "has an RDMA device") {
		vf.RDMADevices = []string{fmt.Sprintf("mlx5_%d", i)}
	}
	if rapid.Bool().Draw(rt, "has a uverbs node") {
		vf.Verbs = []string{fmt.Sprintf("uverbs%d", i)}
	}
	return vf
}

// drawUse gives a VF one of the users that it can have.
func (n *anyNode) drawUse(rt *rapid.T, vf *device.VF) {
	s := sandbox(vf.Index, rapid.SampledFrom([]string{anyResource, "f.io/other", ""}).Draw(rt, "held as"))
	s.ID = vf.Address.String()
	s.Attachments[0].Members[0].Device = vf.Address
	switch use := rapid.SampledFrom([]string{"", "", "", "allocated", "held", "releasing", "child", "process", "namespace"}).Draw(rt, "user"); use {
	case "allocated":
		as := rapid.SampledFrom([]string{anyResource, "f.io/other"}).Draw(rt, "allocated as")
		n.ledger.allocations[vf.Address] = ledger.Allocation{Resource: as, Device: vf.Address}
	case "held":
		n.ledger.sandboxes = append(n.ledger.sandboxes, s)
	case "releasing":
		s.Releasing, s.Failure, s.Attempts = true, "device is busy", 7
		n.ledger.sandboxes = append(n.ledger.sandboxes, s)
	case "child":
		s.Attachments[0].Members = []ledger.Member{{Child: &ledger.ChildMember{Uplink: cmp.Or(vf.Netdev, fmt.Sprintf("ens1f0v%d", vf.Index))}}}
		n.ledger.sandboxes = append(n.ledger.sandboxes, s)
	case "process":
		n.open[fmt.Sprint(vf.IOMMUGroup)] = true
	case "namespace":
		if vf.Netdev != "" {
			n.tree.HideNetdev(vf.Address)
		}
	}
}

func (n *anyNode) refresh(t *testing.T) *inventory.Snapshot {
	t.Helper()
	s, err := n.inv.Refresh(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// list is the pool's devices as the kubelet has them.
func (n *anyNode) list() []Device { return n.m.State().Pools[0].Devices }

func (n *anyNode) allocate(vf pci.Address) error {
	_, err := n.srv.Allocate(context.Background(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{{DevicesIds: []string{vf.String()}}},
	})
	return err
}

// devices A2, A4, A7: a VF that the list has as Healthy is never refused on an
// unchanged node. The kubelet does not give away a container's VF.
func TestHealthyMeansThatAllocateSucceeds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := drawNode(rt, t)
		n.m.Update(n.refresh(t), []device.Pool{n.pool})
		for i := range n.list() {
			d := n.list()[i] // the last allocation may have changed the list
			if _, allocated := n.ledger.allocations[d.VF.Address]; allocated || !d.Healthy() {
				continue
			}
			if err := n.allocate(d.VF.Address); err != nil {
				rt.Fatalf("Healthy, and refused: %v\n%+v", err, d.VF)
			}
			n.m.reassign() // as Run does after a new View of custody
		}
	})
}

// devices A2: a VF that is refused is Unhealthy in the next list, for the same reason,
// whatever happened since the last list.
func TestRefusedMeansUnhealthyForTheSameReason(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := drawNode(rt, t)
		n.m.Update(n.refresh(t), []device.Pool{n.pool})
		devices := n.list()
		for _, d := range devices {
			n.drawEvent(rt, d.VF)
		}
		for _, d := range devices {
			err := n.allocate(d.VF.Address)
			if err == nil {
				continue
			}
			n.m.reassign()
			i := slices.IndexFunc(n.list(), func(o Device) bool { return o.VF.Address == d.VF.Address })
			if reason := n.list()[i].Reason; reason == "" || !strings.Contains(err.Error(), reason) {
				rt.Fatalf("refused with %q, and the list's reason is %q", err, reason)
			}
		}
	})
}

// drawEvent changes a VF, before its event arrives.
func (n *anyNode) drawEvent(rt *rapid.T, vf device.VF) {
	switch rapid.SampledFrom([]string{"", "unbound", "unplugged", "hidden", "opened", "disk full"}).Draw(rt, "event") {
	case "unbound":
		if vf.Whole {
			_ = n.tree.FS().SetNumVFs(vf.Address, 1) // a PF without VFs gets one
			return
		}
		if vf.Driver != "" {
			n.tree.RefuseDriver(vf.Address, "none")
			(&bench{tree: n.tree}).unbind(vf.Index)
		}
	case "unplugged":
		n.tree.Remove(vf.Address)
	case "hidden":
		if vf.Netdev != "" {
			n.tree.HideNetdev(vf.Address)
		}
	case "opened":
		n.open[vf.VFIOGroup] = true
	case "disk full":
		n.ledger.fails = true
	}
}
