// Package inventory keeps a picture of a node's PFs and VFs: an immutable Snapshot, and a new
// one after each change. The kernel reports changes (rtnetlink for netdevs, uevents for
// functions and drivers), and only the PF or VF concerned is read again. An occasional full
// reading is the safety net. The package writes nothing, decides nothing, and keeps no record
// of who uses a VF.
//
// Sources:
//   - pkg/sysfs: functions, drivers, NUMA nodes, IOMMU groups, RDMA devices, and
//     the netdevs' MAC, MTU and state, all below one root. Each is one small file,
//     so one VF can be read by itself. A netlink dump of all VFs is never
//     requested: with many VFs it does not fit into its message.
//   - pkg/link: netdevs' altnames, and the events of changes.
//   - vishvananda/netlink's devlink: the eswitch mode.
//   - jaypipes/pcidb, the PCI id database of ghw: vendors' and products' names.
//     ghw's own PCI scan is not used: it reads the whole bus at each call and
//     knows no SR-IOV attribute.
//   - sriovnet and rdmamap are not used here: both read /sys itself, not a tree
//     below a root, and answer one question per pass over a directory.
//     deviceplugin uses them for representors and RDMA character devices.
package inventory

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Options are an Inventory's sources and delays. Only FS is required.
type Options struct {
	FS       sysfs.FS
	AltNames AltNames
	Eswitch  func(pci.Address) string                                 // "legacy", "switchdev", "" if unknown
	Names    func(vendor, device string) (vendorName, product string) // "" if unknown
	Events   []Source

	Quiet    time.Duration // events are collected until none came for this long; default 50 ms
	MaxDelay time.Duration // but no longer than this; default 500 ms
	Resync   time.Duration // a full reading this long after the last one; default 10 min
	Log      *slog.Logger
}

// AltNames returns the alternative names of netdevs in the host's network namespace.
type AltNames interface {
	All() (map[string][]string, error) // netdev -> its altnames; netdevs without any are left out
	Of(netdev string) ([]string, error)
}

// Source reports changes. Open returns once no further change can be missed. It closes the
// channel when the source fails or ctx ends.
type Source interface {
	Open(ctx context.Context) (<-chan Event, error)
}

// Event names something that may have changed: a function, a netdev, or everything if events
// were lost.
type Event struct {
	Function pci.Address
	Netdev   string
	Lost     bool
}

// Inventory is a node's devices, kept up to date by Run. Its methods may be
// called from several goroutines.
type Inventory struct {
	opts    Options
	current atomic.Pointer[Snapshot]

	reading sync.Mutex   // held while reading and publishing, so that an older reading never replaces a newer one
	read    atomic.Int64 // time of the last full reading, in nanoseconds since 1970

	mu          sync.Mutex // guards subscribers
	subscribers map[chan *Snapshot]struct{}
}

// New creates an Inventory. It is empty until Refresh or Run.
func New(opts Options) *Inventory {
	if opts.Quiet == 0 {
		opts.Quiet = 50 * time.Millisecond
	}
	if opts.MaxDelay == 0 {
		opts.MaxDelay = 500 * time.Millisecond
	}
	if opts.Resync == 0 {
		opts.Resync = 10 * time.Minute
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	inv := &Inventory{opts: opts, subscribers: map[chan *Snapshot]struct{}{}}
	inv.current.Store(NewSnapshot(nil, nil))
	return inv
}

// Snapshot returns the latest picture.
func (inv *Inventory) Snapshot() *Snapshot { return inv.current.Load() }

// Subscribe sends the current snapshot and then each newer one. A slow reader skips to the
// newest. cancel ends the subscription and closes the channel.
func (inv *Inventory) Subscribe() (snapshots <-chan *Snapshot, cancel func()) {
	ch := make(chan *Snapshot, 1)
	inv.mu.Lock()
	inv.subscribers[ch] = struct{}{}
	ch <- inv.current.Load()
	inv.mu.Unlock()
	return ch, func() {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		if _, ok := inv.subscribers[ch]; ok {
			delete(inv.subscribers, ch)
			close(ch)
		}
	}
}

// Refresh reads everything again before it returns. Callers use it right after a change of
// their own. If single functions cannot be read, it returns both the snapshot and an
// *UnreadError.
func (inv *Inventory) Refresh(ctx context.Context) (*Snapshot, error) {
	inv.reading.Lock()
	defer inv.reading.Unlock()
	next, err := inv.readAll(ctx, inv.current.Load())
	inv.read.Store(time.Now().UnixNano())
	if err != nil {
		err = fmt.Errorf("read the node's devices: %w", err)
	}
	if next == nil {
		return nil, err
	}
	return inv.publish(next), err
}

// reread reads the named functions again.
func (inv *Inventory) reread(dirty map[pci.Address]bool) error {
	inv.reading.Lock()
	defer inv.reading.Unlock()
	next, err := inv.readChanged(inv.current.Load(), dirty)
	if err != nil {
		return err
	}
	inv.publish(next)
	return nil
}

// publish makes next the current snapshot, unless it equals the current one.
func (inv *Inventory) publish(next *Snapshot) *Snapshot {
	last := inv.current.Load()
	changes := Diff(last, next)
	if changes.Empty() && last.read {
		return last
	}
	next.read = true
	inv.opts.Log.Info("devices changed", "changes", changes.String())
	inv.mu.Lock()
	defer inv.mu.Unlock()
	inv.current.Store(next)
	for ch := range inv.subscribers {
		select {
		case <-ch: // the last one is not read yet: the newest replaces it
		default:
		}
		ch <- next
	}
	return next
}
