package inventory

import (
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/jaypipes/pcidb"
)

// PCINames looks names up in the machine's PCI id database. The parsed database takes
// megabytes, so it is read only for an id that is new, and only the names found are kept.
// Without a database all names are empty.
type PCINames struct {
	roots []string
	log   *slog.Logger

	mu    sync.Mutex              // guards names
	names map[[2]string][2]string // vendor and device id -> their names
}

// NewPCINames searches the database below each of the roots, in that order; "/" is the
// machine's own.
func NewPCINames(log *slog.Logger, roots ...string) *PCINames {
	return &PCINames{roots: roots, log: log, names: map[[2]string][2]string{}}
}

// Lookup returns the names of a vendor and its product.
func (p *PCINames) Lookup(vendor, device string) (vendorName, product string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := [2]string{vendor, device}
	names, ok := p.names[id]
	if !ok {
		names = p.read(id)
		p.names[id] = names
	}
	return names[0], names[1]
}

func (p *PCINames) read(id [2]string) [2]string {
	db := p.open()
	if db == nil {
		return [2]string{}
	}
	// The agent looks up only a handful of ids in its life, and the rest of the parsed database
	// would be a quarter of an idle agent's memory.
	defer debug.FreeOSMemory()
	var names [2]string
	if v := db.Vendors[id[0]]; v != nil {
		names[0] = v.Name
	}
	if d := db.Products[id[0]+id[1]]; d != nil {
		names[1] = d.Name
	}
	return names
}

// open never uses the network, which pcidb could: an agent makes no outgoing calls.
func (p *PCINames) open() *pcidb.PCIDB {
	offline := false
	for _, root := range p.roots {
		db, err := pcidb.New(pcidb.WithChroot(root), &pcidb.WithOption{EnableNetworkFetch: &offline})
		if err == nil {
			return db
		}
		p.log.Debug("PCI id database not found", "root", root, "error", err)
	}
	return nil
}
