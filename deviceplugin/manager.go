package deviceplugin

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/Mellanox/rdmamap"
	"github.com/fsnotify/fsnotify"
	"github.com/k8snetworkplumbingwg/sriovnet"

	"fairlead.dev/fairlead/pkg/custody"
	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/problem"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Ledger records allocations; *ledger.Ledger is one.
type Ledger interface {
	PutAllocations([]ledger.Allocation) error
}

// Custody says who uses a VF; *custody.Oracle is one.
type Custody interface {
	View() *custody.View
	Subscribe() (views <-chan *custody.View, cancel func())
	Confirm(ctx context.Context, vfs ...pci.Address) (*custody.View, error)
	Guard(ctx context.Context, vfs ...pci.Address) (v *custody.View, release func(), err error)
	Change(ctx context.Context, vfs ...pci.Address) (end func(), err error)
	AllocationsChanged(vfs ...pci.Address)
	SetPooled(resources map[pci.Address]string)
}

// Options are a Manager's directories, sources and delays. FS, Ledger and Custody are
// required.
type Options struct {
	Dir           string // the kubelet's, default /var/lib/kubelet/device-plugins
	DeviceInfoDir string // default /var/run/k8s.cni.cncf.io/devinfo
	FS            sysfs.FS
	Ledger        Ledger
	Custody       Custody
	RDMANodes     func(rdmaDevice string) []string                 // default rdmamap's
	Representor   func(uplink string, vfIndex int) (string, error) // default sriovnet's
	Retry         time.Duration                                    // the pause before the kubelet is tried again, default 1 s
	Recheck       time.Duration                                    // the pause before a VF that Allocate has refused is inspected again, default 30 s
	Patience      time.Duration                                    // bounds the wait for the kubelet and for custody, default 2 s
	Now           func() time.Time
	Log           *slog.Logger
}

// Manager runs one server per resource, and keeps it in step with the pools and the
// kubelet.
type Manager struct {
	opts     Options
	wake     chan struct{} // servers have to be started or withdrawn
	suspects *suspects
	withheld *withheld

	// assigning guards the fields below. It is held during the whole assignment, so that an
	// older Update never replaces a newer one.
	assigning sync.Mutex
	snapshot  *inventory.Snapshot
	pools     []device.Pool
	pooled    map[pci.Address]string // last sent to custody

	mu         sync.Mutex  // guards all below
	assignment *Assignment // nil until the first Update
	servers    map[string]*server
}

// New makes a Manager, which serves nothing until Update and Run.
func New(opts Options) *Manager {
	if opts.Dir == "" {
		opts.Dir = "/var/lib/kubelet/device-plugins"
	}
	if opts.DeviceInfoDir == "" {
		opts.DeviceInfoDir = "/var/run/k8s.cni.cncf.io/devinfo"
	}
	if opts.RDMANodes == nil {
		opts.RDMANodes = rdmamap.GetRdmaCharDevices
	}
	if opts.Representor == nil {
		opts.Representor = sriovnet.GetVfRepresentor
	}
	if opts.Retry == 0 {
		opts.Retry = time.Second
	}
	if opts.Recheck == 0 {
		opts.Recheck = 30 * time.Second
	}
	if opts.Patience == 0 {
		opts.Patience = 2 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		opts: opts, wake: make(chan struct{}, 1), suspects: newSuspects(),
		withheld: &withheld{functions: map[pci.Address]int{}}, servers: map[string]*server{},
	}
}

// Update makes the node advertise these pools of these devices. It takes the whole desired
// state. A repeated call with the same state changes nothing.
func (m *Manager) Update(s *inventory.Snapshot, pools []device.Pool) {
	m.assigning.Lock()
	defer m.assigning.Unlock()
	m.snapshot, m.pools = s, slices.Clone(pools)
	m.assign()
}

// reassign repeats the last Update, after the users of a VF may have changed.
func (m *Manager) reassign() {
	m.assigning.Lock()
	defer m.assigning.Unlock()
	if m.snapshot != nil {
		m.assign()
	}
}

// assign renews the assignment and the servers' lists. The caller holds m.assigning.
func (m *Manager) assign() {
	a := Assign(m.snapshot, m.pools, m.opts.Custody.View())
	a.Problems = append(a.Problems, missingVhost(&m.opts, m.pools)...)
	m.withheld.mark(a.Pools)
	m.suspects.mark(&m.opts, a.Pools)
	m.setPooled(a.Pools)
	m.suspects.keep(m.pooled)
	m.mu.Lock()
	last := m.assignment
	m.assignment = &a
	known := m.setLists()
	m.mu.Unlock()
	for _, p := range a.Problems {
		if last == nil || !slices.Contains(last.Problems, p) {
			m.opts.Log.Warn("a pool needs attention", "problem", p.Text)
		}
	}
	if !known {
		signal(m.wake)
	}
}

// setLists gives the servers their lists. It reports whether there is exactly one server
// for each resource of the assignment. The caller holds m.mu.
func (m *Manager) setLists() (known bool) {
	advertised := 0
	for i := range m.assignment.Pools {
		pool := &m.assignment.Pools[i]
		if pool.Idle {
			continue
		}
		if s := m.servers[pool.Resource]; s != nil {
			s.set(pool.Devices)
			advertised++
			continue
		}
		return false
	}
	return advertised == len(m.servers)
}

// setPooled reports the VFs that the kubelet may give to pods to custody, if they have
// changed.
func (m *Manager) setPooled(pools []Members) {
	pooled := make(map[pci.Address]string, len(m.pooled))
	for _, pool := range pools {
		for i := range pool.Devices {
			if !pool.Idle {
				pooled[pool.Devices[i].VF.Address] = pool.Resource
			}
		}
	}
	if !maps.Equal(pooled, m.pooled) {
		m.pooled = pooled
		m.opts.Custody.SetPooled(maps.Clone(pooled))
	}
}

// Advertised lists the pools with their registration.
type Advertised struct {
	Pools    []PoolState
	Problems []problem.Problem // as in Assignment, and servers that cannot reach the kubelet
}

// PoolState is a pool and its registration.
type PoolState struct {
	Members
	Registered bool // the kubelet has accepted it; always false for idle pools
}

// State returns the pools with their VFs and registrations, for displays.
func (m *Manager) State() Advertised {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.assignment == nil {
		return Advertised{}
	}
	state := Advertised{Problems: slices.Clone(m.assignment.Problems)}
	for _, pool := range m.assignment.Pools {
		p := PoolState{Members: pool}
		if s := m.servers[pool.Resource]; s != nil && !pool.Idle {
			var err error
			if p.Registered, err = s.status(); err != nil {
				state.Problems = append(state.Problems, problem.Problem{Reason: problem.PoolNotRegistered, About: pool.Resource, Text: err.Error()})
			}
		}
		state.Pools = append(state.Pools, p)
	}
	return state
}

// Run serves until ctx ends, which is not an error. The resources stay known to the
// kubelet: containers keep running, and the next agent registers the resources again.
//
// Run sleeps until something changes. If Allocate has refused a VF, there may be no event
// when the VF is fit again, so Run inspects it after Options.Recheck.
func (m *Manager) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	defer m.stopAll()
	views, cancel := m.opts.Custody.Subscribe()
	defer cancel()
	watch := time.NewTimer(0)
	defer watch.Stop()
	recheck := time.NewTimer(m.opts.Recheck)
	defer recheck.Stop()
	for rechecks := true; ; {
		suspected := m.suspects.any()
		switch {
		case !suspected:
			recheck.Stop()
		case !rechecks: // if the timer is running, other events do not put it off
			recheck.Reset(m.opts.Recheck)
		}
		rechecks = suspected
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
			m.reconcile()
		case <-views:
			m.reassign()
		case <-m.suspects.added:
			m.reassign()
		case <-recheck.C:
			rechecks = false
			m.reassign()
		case <-watch.C:
			m.watchDir(watcher, watch)
		case event := <-watcher.Events:
			if event.Name == m.opts.Dir { // removed: the kernel does not watch a new directory of this name
				watch.Reset(m.opts.Retry)
			}
			m.handleEvent(event)
		case err := <-watcher.Errors:
			m.opts.Log.Warn("events of the kubelet's directory were lost", "error", err)
			m.checkServers()
		}
	}
}

// reconcile starts, updates and withdraws servers.
func (m *Manager) reconcile() {
	m.mu.Lock()
	if m.assignment == nil {
		m.mu.Unlock()
		return
	}
	withdrawn := m.withdraw()
	for _, pool := range m.assignment.Pools {
		if pool.Idle {
			continue
		}
		s := m.servers[pool.Resource]
		if s != nil {
			s.set(pool.Devices)
			continue
		}
		s = newServer(pool.Resource, &m.opts, m.suspects)
		s.set(pool.Devices)
		m.servers[pool.Resource] = s
		s.start()
	}
	m.mu.Unlock()
	// Until these servers have ended, no other server may advertise their resources: the
	// empty list could arrive after its list.
	for _, s := range withdrawn {
		<-s.ended
	}
	m.removeStaleSockets()
}

// withdraw ends the servers of removed resources. The caller holds m.mu.
func (m *Manager) withdraw() []*server {
	var withdrawn []*server
	for resource, s := range m.servers {
		advertised := func(p Members) bool { return p.Resource == resource && !p.Idle }
		if slices.ContainsFunc(m.assignment.Pools, advertised) {
			continue
		}
		m.opts.Log.Info("resource is no longer advertised", "resource", resource)
		s.withdraw()
		delete(m.servers, resource)
		withdrawn = append(withdrawn, s)
	}
	return withdrawn
}

func (m *Manager) stopAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		s.cancel()
	}
	for resource, s := range m.servers {
		<-s.ended
		delete(m.servers, resource)
	}
}

// signal wakes the reader of a channel with room for one. A second signal before the
// reader has woken changes nothing.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
