package custody

import (
	"context"
	"log/slog"
	"time"

	"fairlead.dev/fairlead/pkg/inventory"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/pci"
	"fairlead.dev/fairlead/pkg/sysfs"
)

// Sources are the places where an Oracle looks. A nil source reports no use.
type Sources struct {
	Ledger    Ledger
	Devices   Devices
	Functions Functions
	Host      HostUse
	Kubelet   Kubelet

	Now    func() time.Time // default time.Now
	Settle time.Duration    // how long a netdev may take to appear after its driver was bound or a pod returned it; default 2 s
	Resync time.Duration    // how often sources without events are read again; default 5 min
	Log    *slog.Logger
}

// Ledger has the records of sandboxes and allocations; *ledger.Ledger is one. Run
// follows its changes. A caller that needs a change in the View at once calls
// Oracle.SandboxChanged or Oracle.AllocationsChanged.
type Ledger interface {
	Subscribe() (changes <-chan ledger.Change, cancel func())
	Entries() []ledger.Entry
	Entry(id string) (ledger.Entry, bool)
	Allocations() ([]ledger.Allocation, error)
}

// Devices has the node's functions; *inventory.Inventory is one.
type Devices interface {
	Snapshot() *inventory.Snapshot
	Subscribe() (snapshots <-chan *inventory.Snapshot, cancel func())
}

// Functions reads single functions; sysfs.FS is one.
type Functions interface {
	Netdevs(pci.Address) ([]string, error)
	Driver(pci.Address) (string, error)
	IOMMUGroup(pci.Address) int
	PFOf(vf pci.Address) (pf pci.Address, ok bool)
	GroupMembers(group int) ([]sysfs.GroupMember, error)
	VFIOOpen(pci.Address) bool
}

// HostUse reports how the node's own network uses its netdevs.
type HostUse interface {
	// Watch sends the whole table, by netdev, at first and after each change. The channel
	// is closed when ctx or the events end.
	Watch(ctx context.Context) (<-chan map[string]HostLink, error)
	// Of reads the use of one netdev now.
	Of(netdev string) (HostLink, error)
}

// HostLink describes how the node's own network uses a netdev. The zero value is no use.
type HostLink struct {
	OnTop []string // netdevs on top of it; custody ignores those that Fairlead made for pods
	How   string   // any other use: "with the address 10.0.0.1/24"
}

// Kubelet lists the devices that the kubelet has given to containers, of all resources.
type Kubelet interface {
	Grants(ctx context.Context) ([]Grant, error)
}

// Grant is a device that the kubelet gave to a container.
type Grant struct {
	Resource, DeviceID string
	Pod                ledger.PodRef
}
