package deviceplugin

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Mellanox/rdmamap"
	"github.com/fsnotify/fsnotify"
	"github.com/k8snetworkplumbingwg/sriovnet"

	"fairlead.dev/fairlead/pkg/device"
	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Ledger keeps what was handed out, and knows who has it.
type Ledger interface {
	PutAllocations([]ledger.Allocation) error
	Allocations() ([]ledger.Allocation, error)
	Holder(pci.Address) (sandboxID, ifName string, ok bool)
	Sandbox(id string) (ledger.Sandbox, bool, error)
}

// Options says where a Manager works. FS and Ledger are required.
type Options struct {
	Dir           string // the kubelet's, default /var/lib/kubelet/device-plugins
	DeviceInfoDir string // default /var/run/k8s.cni.cncf.io/devinfo
	FS            sysfs.FS
	Ledger        Ledger
	HostUse       func() (map[string]string, error)                // netdevs that the host itself uses, and what for; nil: none
	RDMANodes     func(rdmaDevice string) []string                 // default rdmamap's
	Representor   func(uplink string, vfIndex int) (string, error) // default sriovnet's
	Retry         time.Duration                                    // between tries to reach the kubelet, default 1 s
	Recheck       time.Duration                                    // between looks whether a VF is still used by others, default 5 s
	Now           func() time.Time
	Log           *slog.Logger
}

// Manager keeps one server per resource in step with the pools and the kubelet.
type Manager struct {
	opts     Options
	wake     chan struct{} // something for Run to do
	suspect  chan struct{} // a VF was refused since somebody uses it, which Update had not seen
	withheld *withheld

	assigning sync.Mutex // guards the two below; held until they are assigned, so that an older Update never replaces a newer
	snapshot  *inventory.Snapshot
	pools     []device.Pool

	mu         sync.Mutex  // guards all below
	assignment *Assignment // nil until the first Update
	used       bool        // some VF is not handed out since somebody uses it, or nobody knows
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
		opts.Recheck = 5 * time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		opts: opts, wake: make(chan struct{}, 1), suspect: make(chan struct{}, 1),
		withheld: &withheld{vfs: map[pci.Address]int{}}, servers: map[string]*server{},
	}
}

// Update makes the node advertise these pools of these devices. It takes the
// whole desired state; the same again changes nothing.
func (m *Manager) Update(s *inventory.Snapshot, pools []device.Pool) {
	m.assigning.Lock()
	defer m.assigning.Unlock()
	m.snapshot, m.pools = s, slices.Clone(pools)
	m.assign()
}

// again is Update with what it was given last: who uses a VF changes without news
// of the devices.
func (m *Manager) again() {
	m.assigning.Lock()
	defer m.assigning.Unlock()
	if m.snapshot != nil {
		m.assign()
	}
}

// assign makes what is advertised anew; m.assigning is held.
func (m *Manager) assign() {
	users, err := readUsers(&m.opts)
	if err != nil { // Allocate will refuse
		m.opts.Log.Error("who uses the VFs cannot be read", "err", err)
	}
	a := Assign(m.snapshot, m.pools, users.allocated)
	used := users.mark(a.Pools) || err != nil
	m.mu.Lock()
	last := m.assignment
	m.assignment, m.used = &a, used
	m.mu.Unlock()
	for _, problem := range a.Problems {
		if last == nil || !slices.Contains(last.Problems, problem) {
			m.opts.Log.Warn("pools", "problem", problem)
		}
	}
	signal(m.wake)
}

// State is what is advertised now.
type State struct {
	Pools    []PoolState
	Problems []string // as in Assignment, and servers that cannot reach the kubelet
}

// PoolState is a pool and how the kubelet knows it.
type PoolState struct {
	Pool
	Registered bool // the kubelet has accepted it; never so for idle pools
}

// State tells who is in which pool, for displays.
func (m *Manager) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.assignment == nil {
		return State{}
	}
	state := State{Problems: slices.Clone(m.assignment.Problems)}
	for _, pool := range m.assignment.Pools {
		p := PoolState{Pool: pool}
		if s := m.servers[pool.Resource]; s != nil && !pool.Idle {
			var err error
			if p.Registered, err = s.status(); err != nil {
				state.Problems = append(state.Problems, err.Error())
			}
		}
		state.Pools = append(state.Pools, p)
	}
	return state
}

// Run serves until ctx ends, which is no error. Resources stay known to the
// kubelet then: containers run on, and the next agent registers them again.
func (m *Manager) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	defer m.stopAll()
	watch := time.NewTimer(0)
	defer watch.Stop()
	recheck := time.NewTicker(m.opts.Recheck)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
			m.reconcile()
		case <-m.suspect:
			m.again()
		case <-recheck.C:
			if m.anyUsed() {
				m.again()
			}
		case <-watch.C:
			if err := watcher.Add(m.opts.Dir); err != nil {
				// Not there before the kubelet's first start.
				m.opts.Log.Debug("cannot watch the kubelet's directory yet", "dir", m.opts.Dir, "err", err)
				watch.Reset(m.opts.Retry)
			}
			m.check() // what happened before is not told
		case event := <-watcher.Events:
			if event.Name == m.opts.Dir { // removed: a new one is another directory to the kernel
				watch.Reset(m.opts.Retry)
			}
			m.handle(event)
		case err := <-watcher.Errors:
			m.opts.Log.Warn("events of the kubelet's directory were lost", "err", err)
			m.check()
		}
	}
}

func (m *Manager) anyUsed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// reconcile starts, updates and stops servers.
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
		s = newServer(pool.Resource, &m.opts)
		s.suspect, s.withheld = m.suspect, m.withheld
		s.set(pool.Devices)
		m.servers[pool.Resource] = s
		s.start()
	}
	m.mu.Unlock()
	// Until then no other server may stand for the same resource: its empty list
	// would overtake the other's.
	for _, s := range withdrawn {
		<-s.done
	}
	m.removeStaleSockets()
}

// withdraw ends the servers of resources that are no longer there; m.mu is held.
func (m *Manager) withdraw() []*server {
	var withdrawn []*server
	for resource, s := range m.servers {
		wanted := func(p Pool) bool { return p.Resource == resource && !p.Idle }
		if slices.ContainsFunc(m.assignment.Pools, wanted) {
			continue
		}
		m.opts.Log.Info("resource is no longer advertised", "resource", resource)
		s.withdraw()
		delete(m.servers, resource)
		withdrawn = append(withdrawn, s)
	}
	return withdrawn
}

// removeStaleSockets removes what an earlier agent left when it was killed, or
// served for pools that are gone.
func (m *Manager) removeStaleSockets() {
	m.mu.Lock()
	defer m.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(m.opts.Dir, endpointPrefix+"*"))
	if err != nil {
		return
	}
	for _, name := range names {
		used := false
		for _, s := range m.servers {
			used = used || strings.HasPrefix(filepath.Base(name), s.endpoint) // its socket, or that under construction
		}
		if !used {
			if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				m.opts.Log.Warn("stale socket", "err", err)
			}
		}
	}
}

// kubeletSocket is where plugins register.
const kubeletSocket = "kubelet.sock"

// handle follows the kubelet: at its start it deletes all sockets in the
// directory and then makes its own.
func (m *Manager) handle(event fsnotify.Event) {
	name := filepath.Base(event.Name)
	switch {
	case name == kubeletSocket && event.Op.Has(fsnotify.Create):
		m.opts.Log.Info("the kubelet has started")
		m.check()
	case event.Op.Has(fsnotify.Remove) && strings.HasPrefix(name, endpointPrefix):
		m.check()
	}
}

// check lets all servers see whether their sockets and registrations still stand.
func (m *Manager) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		signal(s.check)
	}
}

func (m *Manager) stopAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		s.cancel()
	}
	for resource, s := range m.servers {
		<-s.done
		delete(m.servers, resource)
	}
}

// signal notes that there is something to do; once noted, once more changes nothing.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
