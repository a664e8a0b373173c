package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/cni"
	"fairlead.dev/fairlead/deviceplugin"
	"fairlead.dev/fairlead/pkg/config"
	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/profile"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// node turns declarations into the node's state. It advertises the pools and applies the
// profiles, again after each change of the declarations or of the devices.
//
//	node.go         the declared state; advertising
//	node_apply.go   applying profiles, which never delays advertising
//	node_drift.go   knobs that were changed by hand
//	node_uplinks.go the PFs behind a resource
type node struct {
	inv      *inventory.Inventory
	plugin   *deviceplugin.Manager
	custody  users
	declared *declared
	applier  *profile.Applier
	log      *slog.Logger
	changed  chan struct{}     // the declared state may have changed
	answered chan struct{}     // closed when profiles may be applied: the API server has answered or is no longer waited for. nil: at once
	reapply  chan struct{}     // the declared state was read again
	applied  outcome           // the last comparison of profiles and NICs
	judged   chan struct{}     // declarations were read or profiles applied: there may be other problems
	removed  func(text string) // reports VFs that somebody has removed

	reading sync.Mutex // guards declared

	mu       sync.Mutex // guards the fields below
	model    config.Model
	names    device.Names // the PFs' names since model was read
	problems []problem.Problem
	statuses []profile.Status       // nil until the profiles have been compared with the NICs
	governed map[pci.Address]string // PF -> the profile that governs it
}

// users reports who uses a VF; *custody.Oracle is one.
type users interface {
	View() *custody.View
	Confirm(ctx context.Context, fns ...pci.Address) (*custody.View, error)
	Subscribe() (views <-chan *custody.View, cancel func())
	WaitRead(ctx context.Context) bool
	SetGoverned(profiles map[pci.Address]string)
}

// firstRead is how long the first list waits for custody's sources. Until the users of a VF are
// known it is advertised as Unhealthy, and the status of running pods would show that.
const firstRead = 2 * time.Second

func newNode(p *parts, changed chan struct{}) *node {
	memory, err := openMemory(p.o.memoryPath())
	if err != nil {
		p.log.Warn("remembered configuration unreadable; starting without it", "error", err)
	}
	n := &node{
		inv: p.inv, plugin: p.plugin, custody: p.custody, log: p.log, changed: changed,
		reapply: make(chan struct{}, 1), judged: make(chan struct{}, 1), answered: make(chan struct{}),
		declared: &declared{o: p.o, objects: p.cluster, memory: memory, log: p.log},
	}
	n.removed = func(text string) {
		p.log.Warn("VFs were removed", "error", text)
		p.cluster.NodeEvent("Warning", "VFsRemoved", text)
	}
	host := cni.NewHostExec()
	n.applier = &profile.Applier{
		FS: sysfs.New(p.o.SysRoot), Links: p.links, Custody: withholding{n}, Log: p.log,
		LoadModule: host.Modprobe, Quiet: quietLink("/proc/sys/net", p.hostUse),
	}
	return n
}

// run advertises and applies until ctx ends. VFs that already fit are advertised before
// anything is applied, and before the API server has answered: a change can take minutes, and
// the kubelet admits no pod to a resource that is not registered.
func (n *node) run(ctx context.Context) error {
	n.read()
	if _, err := n.inv.Refresh(ctx); err != nil {
		n.log.Debug("reading devices at the start failed", "error", err) // keepApplied reports the failure
	}
	first, cancel := context.WithTimeout(ctx, firstRead)
	n.custody.WaitRead(first)
	cancel()
	n.advertise()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.keepAdvertised(ctx) })
	g.Go(func() error { return n.keepApplied(ctx) })
	return g.Wait()
}

// keepAdvertised advertises each new snapshot and declared state until ctx ends. Nothing delays
// it.
func (n *node) keepAdvertised(ctx context.Context) error {
	snapshots, cancel := n.inv.Subscribe()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed:
			n.read()
			kick(n.reapply)
		case <-snapshots:
		}
		n.advertise()
	}
}

func (n *node) read() {
	n.reading.Lock()
	defer n.reading.Unlock()
	edits := n.declared.edits
	n.mu.Lock()
	if n.governed != nil {
		n.declared.memory.Governed = n.governed
	}
	n.governed = n.declared.memory.Governed // at the start, as the last agent left it
	n.mu.Unlock()
	model, problems := n.declared.read()
	for _, p := range problems {
		n.log.Error("declared configuration not in effect", "problem", p.Text)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.declared.edits != edits {
		n.names = device.Names{} // the declarations were written for the PFs' current names
	}
	n.model, n.problems = model, problems
	kick(n.judged)
}

// advertise gives the pools to the device plugin once the devices have been read.
func (n *node) advertise() {
	if s := n.inv.Snapshot(); s.Read() {
		snapshot, model := n.declaredFor(s)
		n.custody.SetGoverned(profile.Selecting(model.Profiles, snapshot.PFs))
		n.plugin.Update(snapshot, model.Pools)
	}
}

// declaredFor returns the snapshot with the earlier names of PFs and NICs, and the model.
func (n *node) declaredFor(s *inventory.Snapshot) (*inventory.Snapshot, config.Model) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := slices.Concat(s.PFs, s.NICs)
	followed := n.names.Follow(all)
	if len(all) > 0 && &followed[0] != &all[0] {
		s = inventory.NewSnapshot(followed[:len(s.PFs)], s.Lone, followed[len(s.PFs):]...)
	}
	return s, n.model
}

func (n *node) follow(pfs []device.PF) []device.PF {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.names.Follow(pfs)
}

func (n *node) currentModel() config.Model {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.model
}
