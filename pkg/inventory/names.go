package inventory

import (
	"log/slog"
	"sync"

	"github.com/jaypipes/pcidb"
)

// PCINames looks names up in the machine's PCI id database. The database takes
// megabytes once parsed: it is read when an id turns up that was not seen before,
// and only the names found are kept. Without a database all names are empty.
type PCINames struct {
	root string
	log  *slog.Logger

	mu    sync.Mutex              // guards names
	names map[[2]string][2]string // vendor and device id -> their names
}

// NewPCINames looks for the database below root ("/" for the machine's own).
func NewPCINames(root string, log *slog.Logger) *PCINames {
	return &PCINames{root: root, log: log, names: map[[2]string][2]string{}}
}

// Lookup gives the names of a vendor and its product.
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

// read never asks the network, which pcidb could: an agent does not call out.
func (p *PCINames) read(id [2]string) [2]string {
	offline := false
	db, err := pcidb.New(pcidb.WithChroot(p.root), &pcidb.WithOption{EnableNetworkFetch: &offline})
	if err != nil {
		p.log.Debug("no PCI id database; names of vendors and products stay empty", "err", err)
		return [2]string{}
	}
	var names [2]string
	if v := db.Vendors[id[0]]; v != nil {
		names[0] = v.Name
	}
	if d := db.Products[id[0]+id[1]]; d != nil {
		names[1] = d.Name
	}
	return names
}
