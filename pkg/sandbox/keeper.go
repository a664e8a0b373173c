package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/network"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/policy"
)

// Options is everything that a keeper works with.
type Options struct {
	Ledger  Ledger
	Cluster Cluster
	Devices Devices
	Chains  Chains
	Links   Links // nil: lost links and dead addresses are left alone
	Primary Primary
	// Previous reads what another meta-plugin has recorded of its sandboxes. It may be nil.
	Previous Previous
	Kernel   Kernel

	HostExec   invoke.Exec // runs plugin binaries for work that nobody called for
	PluginPath string      // directories of plugins on the host, likewise
	DevInfoDir string

	NamespaceIsolation bool
	GlobalNamespaces   []string // usable by all pods under namespace isolation
	// DefaultNetworkNamespace is the namespace of a network that replaces the primary, if
	// the pod names none; empty: the pod's own.
	DefaultNetworkNamespace string
	// DefaultNetworks are attached to all pods, before those of a pod's annotation, except in
	// SystemNamespaces.
	DefaultNetworks  []network.Selection
	SystemNamespaces []string
	// AllowNamedDevices lets pods and net-attach-defs name devices that the kubelet has
	// not given to the pod.
	AllowNamedDevices bool
	// SecondaryDefaultRoutes lets the default routes of secondary networks take the place of
	// the primary's.
	SecondaryDefaultRoutes bool
	// EventPerInterface reports each interface of a pod by an event of its own, instead
	// of all by one.
	EventPerInterface bool

	// NoHotplug leaves the interfaces of a running pod as they are when its annotation changes.
	NoHotplug bool

	// Policies returns the attachment policies in effect. After an error no pod gets
	// another network than the cluster's own. It may be nil: there are no policies.
	Policies func() (policy.Set, error)

	// Guard keeps everybody else (the kubelet's Allocate, a profile) from taking devices
	// until release is called: pkg/custody. It may be nil.
	Guard func(ctx context.Context, devices ...pci.Address) (release func(), err error)
	// Pool returns the resource that advertises a device; empty: none does. It may be nil.
	Pool func(pci.Address) string
	// Pools returns the resources that this node advertises. It may be nil.
	Pools func() []string
	// Recorded hears of devices that a record takes over from another meta-plugin, before
	// they are released. It may be nil.
	Recorded func(devices ...pci.Address)
	// Uplinks returns the host netdevs that a fallback of a network backed by the
	// resource may use, best first. It may be nil.
	Uplinks func(resource string) []string
	Now     func() time.Time
	Log     *slog.Logger
}

const (
	// statusBudget is how long an Attach may wait for the network-status patch, which
	// is then retried.
	statusBudget = 500 * time.Millisecond
	// undoTimeout bounds the rolling back of a failed Attach, which goes on when the
	// caller has given up, and each try of a release.
	undoTimeout = 60 * time.Second
	// holderWait bounds the wait for another sandbox that is just being released.
	holderWait = 5 * time.Second
	// callTimeout bounds each question to the kubelet or the API server that no call waits for.
	callTimeout = 10 * time.Second
)

// Request names a sandbox, and says how its plugins are run.
type Request struct {
	ID           string
	Netns        string // path
	IfName       string // of the primary network
	Pod          ledger.PodRef
	Args         string         // CNI_ARGS, as plugins get them
	Capabilities map[string]any // offered by the runtime
	Exec         invoke.Exec    // runs plugin binaries; nil: the keeper's own
	Path         string         // directories of plugins; empty: the keeper's own
	At           time.Time
	// Queued says that nobody waits for the answer of a Release: the sandbox's programs
	// then take their turn among those of its namespace.
	Queued bool
}

// Keeper keeps the sandboxes of a node.
type Keeper struct {
	o           Options
	locks       *locks
	turns       *turns
	planner     planner
	reserver    reserver
	binder      binder
	releaser    *releaser
	reconciler  *reconciler
	addresses   *addressWatch
	reviewer    *reviewer
	plugger     *plugger
	statuses    *statuses
	allocations *allocations
	released    *released
	failures    *failures
}

// New makes a keeper; Run starts its loops.
func New(o Options) *Keeper {
	k := &Keeper{o: o, locks: newLocks(), turns: newTurns(), released: &released{}, failures: newFailures(o.Now)}
	chains := guarded{o.Chains}
	info := deviceInfo{dir: o.DevInfoDir}
	k.allocations = newAllocations(o)
	k.statuses = &statuses{ledger: o.Ledger, cluster: o.Cluster, locks: k.locks, info: info, log: o.Log, wake: newSignal()}
	k.planner = planner{o: o, info: info}
	k.releaser = &releaser{ledger: o.Ledger, cluster: o.Cluster, chains: chains, kernel: o.Kernel, unknown: k.planner.unknown, previous: o.Previous, guard: o.Guard, recorded: o.Recorded, info: info,
		released: k.released, allocations: k.allocations, now: o.Now, log: o.Log, wake: newSignal()}
	k.reserver = reserver{o: o, chains: chains, locks: k.locks, releaser: k.releaser}
	k.binder = binder{chains: chains, kernel: o.Kernel, info: info, secondaryDefaults: o.SecondaryDefaultRoutes}
	k.reconciler = &reconciler{o: o, locks: k.locks, releaser: k.releaser, lanes: newLanes(), started: o.Now(),
		inWork: map[string]bool{}, width: make(chan struct{}, builtInWidth)}
	k.plugger = &plugger{o: o, locks: k.locks, turns: k.turns, planner: k.planner, reserver: k.reserver, binder: k.binder, releaser: k.releaser,
		statuses: k.statuses, programs: programs{exec: o.HostExec, path: o.PluginPath}, log: o.Log, wake: newSignal(),
		queue: map[podName]time.Time{}, failed: map[string]plugFailure{}}
	k.addresses = newAddressWatch(o, k.locks)
	k.reviewer = newReviewer(o, k.locks, k.addresses)
	return k
}

// Run runs the loops until ctx ends: releases that are due, network statuses that are
// owed, allocations that are over, addresses that other hosts have, and pods whose annotation
// has changed. None waits for another.
func (k *Keeper) Run(ctx context.Context) error {
	var loops sync.WaitGroup // each ends with ctx
	loops.Go(func() { k.reconciler.retryLoop(ctx) })
	loops.Go(func() { k.statuses.loop(ctx) })
	loops.Go(func() { k.allocations.loop(ctx) })
	loops.Go(func() { k.addresses.loop(ctx) })
	loops.Go(func() { k.plugger.loop(ctx) })
	loops.Wait()
	k.reconciler.work.Wait()
	return nil
}

// Reconcile releases whatever no call will release any more, and retries failures:
// sandboxes being released, interrupted ones, those without a namespace whose pod is
// gone, allocations that no pod has. Then it reviews the running sandboxes, and makes links
// again that were lost. The agent calls it at start and every few minutes. The error joins
// the failures that are left.
func (k *Keeper) Reconcile(ctx context.Context) error {
	err := k.reconciler.round(ctx, k.allocations.prune)
	return errors.Join(err, k.reviewer.round(ctx))
}

// PodChanged has the keeper compare a pod of this node with its annotation, soon. A pod
// that has no sandbox, or follows its annotation, costs nothing but a look.
func (k *Keeper) PodChanged(namespace, name string) {
	if k.o.NoHotplug {
		return
	}
	k.plugger.enqueue(podName{namespace, name}, k.o.Now())
}

// Failures lists the pods whose networks cannot be made, with the last cause, and counts all
// Attaches since the start.
func (k *Keeper) Failures() ([]AttachFailure, AttachCounts) { return k.failures.list() }

// PodEnded is to be called when a pod is gone, or when all of its containers have ended. The
// kubelet then frees its devices, without an event of its own.
func (k *Keeper) PodEnded(namespace, name string) {
	k.failures.forget(namespace, name)
	k.allocations.noteEnd()
}

// programs runs plugin binaries.
type programs struct {
	exec invoke.Exec
	path string // CNI_PATH
}

func (k *Keeper) programs(r Request) programs {
	p := programs{exec: r.Exec, path: r.Path}
	if p.exec == nil {
		p.exec = k.o.HostExec
	}
	if p.path == "" {
		p.path = k.o.PluginPath
	}
	return p
}
