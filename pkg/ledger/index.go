package ledger

import (
	"encoding/json"
	"slices"
	"time"

	"fairlead.dev/fairlead/pkg/pci"
)

// Entry is a sandbox's record without its attachments. The ledger keeps it in memory,
// so that loops over all sandboxes decode nothing.
type Entry struct {
	ID          string
	IfName      string // of the primary network
	Pod         PodRef
	Netns       Netns
	Path        string
	Created     time.Time
	Releasing   bool
	EarlierBoot bool
	Failure     string
	Attempts    int
	RetryAt     time.Time
	Annotation  string
	Hotplug     bool      // an attachment is being added or removed
	OwesStatus  bool      // Sandbox.Status is not yet on the pod
	Holdings    []Holding // shared by all readers: not to be changed
}

// entry is an Entry in the index. It is never changed, only replaced.
type entry struct {
	Entry
	status json.RawMessage // Sandbox.Status
}

// Entry returns the part of the record that the ledger keeps in memory.
func (s Sandbox) Entry() Entry {
	return Entry{
		ID: s.ID, IfName: s.IfName, Pod: s.Pod, Netns: s.Netns, Path: s.Path, Created: s.Created,
		Releasing: s.Releasing, EarlierBoot: s.EarlierBoot,
		Failure: s.Failure, Attempts: s.Attempts, RetryAt: s.RetryAt,
		Annotation: s.Annotation, Hotplug: slices.ContainsFunc(s.Attachments, func(a Attachment) bool { return a.Hotplug != "" }),
		OwesStatus: len(s.Status) > 0, Holdings: s.Holdings(),
	}
}

func newEntry(s Sandbox) *entry { return &entry{Entry: s.Entry(), status: s.Status} }

// holding returns the sandbox's holding of a device.
func (e *entry) holding(device pci.Address) (Holding, bool) {
	if e != nil {
		for _, h := range e.Holdings {
			if h.Device == device {
				return h, true
			}
		}
	}
	return Holding{}, false
}

// LinkUser is one interface of one sandbox.
type LinkUser struct {
	SandboxID string
	IfName    string
}

// index has the parts of the records that checks and loops need. It is in memory, and
// Open makes it from the records.
type index struct {
	sandboxes   map[string]*entry
	allocations map[pci.Address]Allocation
	devices     map[pci.Address]LinkUser // who holds the device
	children    relation[string, LinkUser]
	vlanLinks   relation[string, LinkUser]
	held        relation[string, pci.Address] // netdev → held devices of that name
	allocated   relation[string, pci.Address] // netdev → allocated devices of that name
}

func newIndex() *index {
	return &index{
		sandboxes: map[string]*entry{}, allocations: map[pci.Address]Allocation{}, devices: map[pci.Address]LinkUser{},
		children: relation[string, LinkUser]{}, vlanLinks: relation[string, LinkUser]{},
		held: relation[string, pci.Address]{}, allocated: relation[string, pci.Address]{},
	}
}

// setSandbox replaces the entry of a sandbox. If e is nil, it removes the entry.
func (x *index) setSandbox(id string, e *entry) {
	if old := x.sandboxes[id]; old != nil {
		for _, h := range old.Holdings {
			x.removeHolding(LinkUser{id, h.IfName}, h)
		}
	}
	if e == nil {
		delete(x.sandboxes, id)
		return
	}
	x.sandboxes[id] = e
	for _, h := range e.Holdings {
		x.addHolding(LinkUser{id, h.IfName}, h)
	}
}

func (x *index) addHolding(by LinkUser, h Holding) {
	if !h.Device.IsZero() {
		x.devices[h.Device] = by
		x.held.add(h.netdev(), h.Device)
	}
	x.children.add(h.Uplink, by)
	x.vlanLinks.add(h.VLANLink, by)
}

func (x *index) removeHolding(by LinkUser, h Holding) {
	if !h.Device.IsZero() {
		delete(x.devices, h.Device)
		x.held.remove(h.netdev(), h.Device)
	}
	x.children.remove(h.Uplink, by)
	x.vlanLinks.remove(h.VLANLink, by)
}

// setAllocation replaces the allocation of a device. If a is nil, it removes the
// allocation.
func (x *index) setAllocation(device pci.Address, a *Allocation) {
	if old, ok := x.allocations[device]; ok {
		x.allocated.remove(old.Netdev, device)
	}
	if a == nil {
		delete(x.allocations, device)
		return
	}
	x.allocations[device] = *a
	x.allocated.add(a.Netdev, device)
}

// relation maps a key to a set. It ignores the zero key.
type relation[K, V comparable] map[K]map[V]struct{}

func (r relation[K, V]) add(key K, value V) {
	var zero K
	if key == zero {
		return
	}
	if r[key] == nil {
		r[key] = map[V]struct{}{}
	}
	r[key][value] = struct{}{}
}

func (r relation[K, V]) remove(key K, value V) {
	delete(r[key], value)
	if len(r[key]) == 0 {
		delete(r, key)
	}
}
