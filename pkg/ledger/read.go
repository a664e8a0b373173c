package ledger

import (
	"cmp"
	"maps"
	"slices"

	"fairlead.dev/fairlead/pkg/pci"
)

// Entry returns a sandbox's entry, without reading its record.
func (l *Ledger) Entry(id string) (Entry, bool) {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	e := l.w.index.sandboxes[id]
	if e == nil {
		return Entry{}, false
	}
	return l.w.current(e), true
}

// Entries returns the entries of all sandboxes, in the order of their ids.
func (l *Ledger) Entries() []Entry {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	all := make([]Entry, 0, len(l.w.index.sandboxes))
	for _, id := range slices.Sorted(maps.Keys(l.w.index.sandboxes)) {
		all = append(all, l.w.current(l.w.index.sandboxes[id]))
	}
	return all
}

// Holder returns the sandbox and the interface that hold a device.
func (l *Ledger) Holder(device pci.Address) (sandboxID, ifName string, ok bool) {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	by, ok := l.w.index.devices[device]
	return by.SandboxID, by.IfName, ok
}

// VLANLinkUsers returns the interfaces on a shared VLAN link of the host. Sandboxes that
// are being released do not count. Otherwise two of them, released at the same time,
// would each leave the link for the other to delete.
func (l *Ledger) VLANLinkUsers(name string) []LinkUser {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	var users []LinkUser
	for u := range l.w.index.vlanLinks[name] {
		if !l.w.index.sandboxes[u.SandboxID].Releasing {
			users = append(users, u)
		}
	}
	slices.SortFunc(users, func(a, b LinkUser) int {
		return cmp.Or(cmp.Compare(a.SandboxID, b.SandboxID), cmp.Compare(a.IfName, b.IfName))
	})
	return users
}

// Allocations returns all allocations, in the order of their addresses.
func (l *Ledger) Allocations() ([]Allocation, error) {
	l.w.mu.RLock()
	defer l.w.mu.RUnlock()
	return slices.SortedFunc(maps.Values(l.w.index.allocations), func(a, b Allocation) int { return a.Device.Compare(b.Device) }), nil
}

// Subscribe returns a channel of durable changes. Equal changes that the subscriber has
// not received yet are merged. The channel is closed by cancel and by Close. A caller that
// subscribes before it reads misses no change.
func (l *Ledger) Subscribe() (changes <-chan Change, cancel func()) { return l.w.watchers.subscribe() }
