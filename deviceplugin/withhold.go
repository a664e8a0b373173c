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

// Withhold keeps VFs from being handed out until end is called. The kubelet first
// hears that they are Unhealthy, so that it does not choose them and have its pod
// refused. Check is asked of each VF once none can be handed out: all that were handed
// out before are on record by then, and a VF whose check fails must not be changed.
// If a check fails, nothing is withheld.
func (m *Manager) Withhold(vfs []pci.Address, check func(pci.Address) error) (end func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.opts.Patience)
	defer cancel()
	m.withheld.add(vfs, 1)
	m.again()
	m.awaitSent(ctx)
	// Guards that Allocate holds are waited for: a time-out would mean a ledger that hangs.
	endChange, err := m.opts.Custody.Change(ctx, vfs...)
	if err != nil {
		m.release(vfs)
		return nil, fmt.Errorf("withhold %s from pods: %w", some(vfs), err)
	}
	end = sync.OnceFunc(func() {
		endChange()
		m.release(vfs)
	})
	for _, vf := range vfs {
		if err := check(vf); err != nil {
			end()
			return nil, err
		}
	}
	return end, nil
}

// release ends the withholding. The snapshot may show the VFs as they were before the
// change: they are suspects until an inspection has cleared them.
func (m *Manager) release(vfs []pci.Address) {
	for _, vf := range vfs {
		m.suspects.add(vf, suspicion{})
	}
	m.withheld.add(vfs, -1)
	m.again()
}

// awaitSent waits until the kubelet has been sent the present lists. A kubelet that
// does not read has no part in choosing devices.
func (m *Manager) awaitSent(ctx context.Context) {
	m.mu.Lock()
	servers := maps.Clone(m.servers)
	m.mu.Unlock()
	for _, s := range servers {
		s.awaitSent(ctx)
	}
}

// withheld counts, for each VF, the changes that are under way.
type withheld struct {
	mu  sync.Mutex // guards vfs
	vfs map[pci.Address]int
}

func (w *withheld) add(vfs []pci.Address, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, vf := range vfs {
		if w.vfs[vf] += n; w.vfs[vf] == 0 {
			delete(w.vfs, vf)
		}
	}
}

// mark gives the devices that are withheld the reason.
func (w *withheld) mark(pools []Pool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.vfs) == 0 {
		return
	}
	for _, pool := range pools {
		for i := range pool.Devices {
			if d := &pool.Devices[i]; d.Healthy() && w.vfs[d.VF.Address] > 0 {
				d.Reason = beingChanged
			}
		}
	}
}
