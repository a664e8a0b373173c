package custody

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// node is every source of an Oracle, as plain values.
type node struct {
	mu          sync.Mutex // guards all below
	sandboxes   map[string]ledger.Sandbox
	allocations map[pci.Address]ledger.Allocation
	changes     chan ledger.Change
	ledgerErr   error
	snapshot    *inventory.Snapshot
	snapshots   chan *inventory.Snapshot
	netdevs     map[pci.Address][]string // as /sys shows them now; no entry: as in the snapshot
	members     map[int][]sysfs.GroupMember
	open        map[pci.Address]bool
	probed      []pci.Address // whom VFIOOpen was asked about
	host        map[string]HostLink
	tables      chan map[string]HostLink
	grants      []Grant
	reads       map[string]int // how often a source was asked
}

func newNode() *node {
	return &node{
		changes: make(chan ledger.Change), sandboxes: map[string]ledger.Sandbox{}, allocations: map[pci.Address]ledger.Allocation{}, snapshot: snapshot(),
		snapshots: make(chan *inventory.Snapshot, 1), netdevs: map[pci.Address][]string{}, members: groups(), open: map[pci.Address]bool{},
		host: map[string]HostLink{}, reads: map[string]int{}, tables: make(chan map[string]HostLink),
	}
}

func (n *node) sources() Sources {
	return Sources{Ledger: n, Devices: nodeDevices{n}, Functions: n, Host: n, Kubelet: n}
}

func (n *node) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *node) Entries() []ledger.Entry {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads["all sandboxes"]++
	var all []ledger.Entry
	for _, s := range n.sandboxes {
		all = append(all, s.Entry())
	}
	return all
}

func (n *node) Entry(id string) (ledger.Entry, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads["sandbox "+id]++
	s, ok := n.sandboxes[id]
	return s.Entry(), ok
}

func (n *node) Subscribe() (<-chan ledger.Change, func()) { return n.changes, func() {} }

func (n *node) Allocations() ([]ledger.Allocation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.allocations)), n.ledgerErr
}

// nodeDevices is the node's devices: the ledger can be subscribed to as well.
type nodeDevices struct{ node *node }

func (d nodeDevices) Snapshot() *inventory.Snapshot {
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	return d.node.snapshot
}

func (d nodeDevices) Subscribe() (<-chan *inventory.Snapshot, func()) {
	return d.node.snapshots, func() {}
}

func (n *node) Netdevs(fn pci.Address) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads["netdevs"]++
	if names, ok := n.netdevs[fn]; ok {
		return names, nil
	}
	f := newIndex(n.snapshot).functions
	return f[fn].netdevs, nil
}

func (n *node) Driver(fn pci.Address) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := newIndex(n.snapshot).functions
	if _, ok := f[fn]; !ok {
		return "", fs.ErrNotExist
	}
	return f[fn].driver, nil
}

func (n *node) IOMMUGroup(fn pci.Address) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := newIndex(n.snapshot).functions
	return f[fn].group
}

func (n *node) PFOf(fn pci.Address) (pci.Address, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := newIndex(n.snapshot).functions
	return f[fn].pf, !f[fn].pf.IsZero()
}

func (n *node) GroupMembers(group int) ([]sysfs.GroupMember, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members[group], nil
}

func (n *node) VFIOOpen(fn pci.Address) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.probed = append(n.probed, fn)
	return n.open[fn]
}

func (n *node) Watch(ctx context.Context) (<-chan map[string]HostLink, error) {
	return n.tables, ctx.Err()
}

func (n *node) Of(netdev string) (HostLink, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads["host"]++
	return n.host[netdev], nil
}

func (n *node) Grants(context.Context) ([]Grant, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reads["kubelet"]++
	return n.grants, nil
}

var errDisk = errors.New("input/output error")
