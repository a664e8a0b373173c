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
	own           string // the directory of networks that name none
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
	p := pool{name: c.Name, dataDir: c.IPAM.DataDir, own: own, onlyOnHost: c.IPAM.ResolvConf != ""}
	if p.dataDir == "" {
		p.dataDir = own
	}
	if shared := filepath.Dir(own); !below(p.dataDir, shared) {
		p.onlyOnHost = true
	}
	return p, nil
}

// checkForeign refuses a directory with the state of another program. A net-attach-def names
// the directory and, by its CNI name, the part below it; so it could choose those in which
// libcni keeps results, or host-local the addresses of all other networks. Only files of
// host-local may be there. Directories that the agent does not see are the host's binary's to
// judge, and a policy's.
func (p pool) checkForeign() error {
	const remedy = "leave dataDir out, or name a directory for this purpose only"
	if below(p.dataDir, p.own) || !below(p.dataDir, filepath.Dir(p.own)) {
		return nil
	}
	if below(p.own, p.dir()) {
		return fmt.Errorf("dataDir %s, network name %q: %s is the directory of all networks; %s", p.dataDir, p.name, p.dir(), remedy)
	}
	entries, err := os.ReadDir(p.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("dataDir %s, network name %q: %w", p.dataDir, p.name, err)
	}
	for _, e := range entries {
		if !ofHostLocal(e) {
			return fmt.Errorf("dataDir %s, network name %q: %s has files of another program; %s", p.dataDir, p.name, p.dir(), remedy)
		}
	}
	return nil
}

// ofHostLocal reports a file that host-local writes: an address, the lock, or where the next
// search begins.
func ofHostLocal(e fs.DirEntry) bool {
	name := e.Name()
	return e.Type().IsRegular() && (net.ParseIP(name) != nil || name == "lock" || strings.HasPrefix(name, "last_reserved_ip."))
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
