package deviceplugin

import (
	"sync"

	"fairlead.dev/fairlead/pkg/pci"
)

// withheld are VFs that are being changed.
type withheld struct {
	mu  sync.RWMutex // guards vfs; a reader holds it from its look at them until its grants are on record
	vfs map[pci.Address]int
}

// Withhold keeps VFs from being handed out until end is called. Check is asked of
// each once that is so: what was handed out before is on record by then, and a VF
// whose check fails must not be changed. On an error nothing is withheld.
func (m *Manager) Withhold(vfs []pci.Address, check func(pci.Address) error) (end func(), err error) {
	m.withheld.add(vfs, 1)
	end = sync.OnceFunc(func() { m.withheld.add(vfs, -1) })
	for _, vf := range vfs {
		if err := check(vf); err != nil {
			end()
			return nil, err
		}
	}
	return end, nil
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
