package ipam

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/allocator"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"

	"fairlead.dev/fairlead/pkg/quote"
)

// stockDataDir is the directory of the stock plugin.
const stockDataDir = "/var/lib/cni/networks"

// pool is the directory of a network's addresses, with one file for each.
type pool struct {
	name, dataDir string
	// onlyOnHost is set if the conf names a file outside the directory that the agent
	// shares with the host. The agent's container has another file there, or no file. If
	// addresses were recorded in the container, they would be lost when it restarts, and
	// would be allocated again.
	onlyOnHost bool
}

func (p pool) dir() string { return filepath.Join(p.dataDir, p.name) }

func openPool(args Args, c head) (pool, error) {
	// The name becomes a directory. libcni's rule forbids paths.
	if err := utils.ValidateNetworkName(c.Name); err != nil {
		return pool{}, fmt.Errorf("network name %q: %w", quote.Cut(c.Name), err)
	}
	own := args.DataDir
	if own == "" {
		own = stockDataDir
	}
	p := pool{name: c.Name, dataDir: c.IPAM.DataDir, onlyOnHost: c.IPAM.ResolvConf != ""}
	if p.dataDir == "" {
		p.dataDir = own
	}
	if shared := filepath.Dir(own); !below(p.dataDir, shared) {
		p.onlyOnHost = true
	}
	return p, nil
}

func below(path, dir string) bool {
	rest, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rest)
}

// explain adds the holder of the address, or the number of taken addresses, to the
// allocator's error.
func (p pool) explain(err error, set allocator.RangeSet, wanted net.IP) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return fmt.Errorf("network %q: %w", p.name, err) // a fault of the disk, not of the range
	}
	if wanted == nil {
		return p.full(set)
	}
	if holder, ok := p.holder(wanted); ok {
		return fmt.Errorf("requested address %s of network %q is taken by %s", wanted, p.name, holder)
	}
	return fmt.Errorf("requested address %s of network %q: %w", wanted, p.name, err)
}

func (p pool) full(set allocator.RangeSet) error {
	taken, nameless := p.taken(set)
	if nameless > 0 {
		return fmt.Errorf("network %q has no free address in %s: %d are taken, %d of them by empty files in %s, which name no holder (a crash leaves such files; delete them)",
			p.name, set.String(), taken, nameless, p.dir())
	}
	return fmt.Errorf("network %q has no free address in %s: %d are taken (one file each in %s); widen the range, or end pods that hold them",
		p.name, set.String(), taken, p.dir())
}

// taken counts the allocated addresses of a range set, and those of them whose file names no
// holder.
func (p pool) taken(set allocator.RangeSet) (taken, nameless int) {
	entries, _ := os.ReadDir(p.dir())
	for _, e := range entries {
		ip := net.ParseIP(e.Name())
		if ip == nil || !set.Contains(canonical(ip)) {
			continue
		}
		taken++
		if info, err := e.Info(); err == nil && info.Size() == 0 {
			nameless++
		}
	}
	return taken, nameless
}

// holder returns who has an address. The file contains the container id and the interface.
func (p pool) holder(ip net.IP) (string, bool) {
	data, err := os.ReadFile(filepath.Join(p.dir(), ip.String()))
	if err != nil {
		return "", false
	}
	id, ifName, _ := strings.Cut(strings.TrimSpace(string(data)), disk.LineBreak)
	if id == "" {
		return "nobody: its file in " + p.dir() + " is empty, as after a crash; delete it", true
	}
	return strings.TrimSpace("sandbox " + id + " " + ifName), true
}
