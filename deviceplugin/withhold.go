package deviceplugin

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"fairlead.dev/fairlead/pkg/pci"
)

// beingChanged is the reason of a VF that is withheld.
const beingChanged = "a profile is changing it"

// Withhold keeps VFs from being handed out until end is called. A PF stands for all its
// VFs, including those that are made meanwhile. The kubelet first gets a list with these
// VFs as Unhealthy. Otherwise it could choose one, and its pod would be refused.
//
// Then check runs for each function, when every earlier grant is in the ledger. If a check
// fails, nothing is withheld, and the caller must not change anything.
func (m *Manager) Withhold(functions []pci.Address, check func(pci.Address) error) (end func(), err error) {
	m.withheld.add(functions, 1)
	m.reassign()
	m.awaitSent()
	ctx, cancel := context.WithTimeout(context.Background(), m.opts.Patience)
	defer cancel()
	// Change waits for Allocate's guards. If it times out, the ledger hangs.
	endChange, err := m.opts.Custody.Change(ctx, functions...)
	if err != nil {
		m.release(functions)
		return nil, fmt.Errorf("withhold %s from pods: %w", addressList(functions), err)
	}
	end = sync.OnceFunc(func() {
		endChange()
		m.release(functions)
	})
	for _, fn := range functions {
		if err := check(fn); err != nil {
			end()
			return nil, err
		}
	}
	return end, nil
}

// release ends the withholding. The snapshot may still show the VFs from before the change,
// so they are suspects until an inspection has cleared them.
func (m *Manager) release(functions []pci.Address) {
	for _, vf := range m.vfsOf(functions) {
		m.suspects.add(vf, suspicion{})
	}
	m.withheld.add(functions, -1)
	m.reassign()
}

// vfsOf adds the VFs of PFs.
func (m *Manager) vfsOf(functions []pci.Address) []pci.Address {
	m.assigning.Lock()
	defer m.assigning.Unlock()
	var vfs []pci.Address
	for _, fn := range functions {
		vfs = append(vfs, fn)
		if m.snapshot == nil {
			continue
		}
		if pf, ok := m.snapshot.PF(fn); ok {
			for i := range pf.VFs {
				vfs = append(vfs, pf.VFs[i].Address)
			}
		}
	}
	return vfs
}

// awaitSent waits until the present lists have been sent to the kubelet, for at most
// Options.Patience: a kubelet that does not read cannot hand out a device either.
func (m *Manager) awaitSent() {
	ctx, cancel := context.WithTimeout(context.Background(), m.opts.Patience)
	defer cancel()
	m.mu.Lock()
	servers := maps.Clone(m.servers)
	m.mu.Unlock()
	for _, s := range servers {
		s.awaitSent(ctx)
	}
}

// withheld counts the running changes of each function.
type withheld struct {
	mu        sync.Mutex // guards functions
	functions map[pci.Address]int
}

func (w *withheld) add(functions []pci.Address, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fn := range functions {
		if w.functions[fn] += n; w.functions[fn] == 0 {
			delete(w.functions, fn)
		}
	}
}

// mark sets the reason of withheld devices.
func (w *withheld) mark(pools []Members) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.functions) == 0 {
		return
	}
	for _, pool := range pools {
		for i := range pool.Devices {
			d := &pool.Devices[i]
			if d.Healthy() && w.functions[d.VF.Address]+w.functions[d.VF.PF] > 0 {
				d.Reason = beingChanged
			}
		}
	}
}
