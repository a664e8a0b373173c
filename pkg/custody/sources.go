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

// Sources are where an Oracle looks. A nil source reports nothing.
type Sources struct {
	Ledger    Ledger
	Devices   Devices
	Functions Functions
	Host      HostUse
	Kubelet   Kubelet

	Now    func() time.Time // default time.Now
	Settle time.Duration    // how long a netdev may take to appear after its driver or its return; default 2 s
	Resync time.Duration    // how often sources without events are read again; default 5 min
	Log    *slog.Logger
}

// Ledger has the records of sandboxes and allocations; *ledger.Ledger is one. Run
// follows its changes. Who needs the View to have a change at once calls
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

// HostUse says by netdev what the node's own network uses it for.
type HostUse interface {
	// Watch gives the whole table, and again after each change. The channel is closed
	// when ctx ends, or the events do.
	Watch(ctx context.Context) (<-chan map[string]HostLink, error)
	// Of asks for one netdev now.
	Of(netdev string) (HostLink, error)
}

// HostLink is what the node's own network uses a netdev for. The zero value is no use.
type HostLink struct {
	OnTop []string // netdevs on top of it; those that Fairlead made for pods don't count
	How   string   // any other use: "with the address 10.0.0.1/24"
}

// Kubelet has the devices that the kubelet gave out, of all resources.
type Kubelet interface {
	Grants(ctx context.Context) ([]Grant, error)
}

// Grant is a device that the kubelet gave to a container.
type Grant struct {
	Resource, DeviceID string
	Pod                ledger.PodRef
}
