package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/allocator"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/disk"
)

// stockDataDir is the directory of the stock plugin.
const stockDataDir = "/var/lib/cni/networks"

// hostLocal is the built-in host-local.
type hostLocal struct {
	pool
	args Args
	conf json.RawMessage
}

func (h hostLocal) add(context.Context) (*types100.Result, error) {
	p, args := h.pool, h.args
	envArgs, ips, err := splitIPs(args.CNIArgs)
	if err != nil {
		return nil, err
	}
	c, _, err := allocator.LoadIPAMConfig(h.conf, envArgs)
	if err != nil {
		return nil, err
	}
	result := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Routes: c.Routes}
	store, err := disk.New(p.name, p.dataDir)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if held := lockedGet(store, args); len(held) > 0 {
		return nil, fmt.Errorf("sandbox %s holds %s for %s already, from an ADD without a DEL", args.SandboxID, join(held), args.IfName)
	}
	if result.IPs, err = p.allocate(store, args, c.Ranges, append(ips, c.IPArgs...)); err != nil {
		return nil, errors.Join(err, p.release(store, args))
	}
	return result, nil
}

// allocate takes one address of each range set: a requested one where there is
// one in the set.
func (p pool) allocate(store *disk.Store, args Args, sets []allocator.RangeSet, requested []net.IP) ([]*types100.IPConfig, error) {
	left := unique(requested)
	var got []*types100.IPConfig
	for i, set := range sets {
		wanted := takeFrom(&left, set)
		ip, err := allocator.NewIPAllocator(&set, store, i).Get(args.SandboxID, args.IfName, wanted)
		if err != nil {
			return nil, p.explain(err, set, wanted)
		}
		got = append(got, ip)
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("requested address %s lies in no range of network %q, or its range set has given one already (ranges: %s)",
			join(left), p.name, ranges(sets))
	}
	return got, nil
}

// explain says what the allocator's error leaves out: who has the address, or
// how many are gone.
func (p pool) explain(err error, set allocator.RangeSet, wanted net.IP) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return fmt.Errorf("network %q: %w", p.name, err) // the disk, not the range
	}
	if wanted == nil {
		taken, nameless := p.taken(set)
		if nameless > 0 {
			return fmt.Errorf("network %q has no free address in %s: %d are taken, %d of them by empty files in %s, which name no holder (a crash leaves such files; delete them)",
				p.name, set.String(), taken, nameless, p.dir())
		}
		return fmt.Errorf("network %q has no free address in %s: %d are taken (one file each in %s); widen the range, or end pods that hold them",
			p.name, set.String(), taken, p.dir())
	}
	if holder, ok := p.holder(wanted); ok {
		return fmt.Errorf("requested address %s of network %q is taken by %s", wanted, p.name, holder)
	}
	return fmt.Errorf("requested address %s of network %q: %w", wanted, p.name, err)
}

func (h hostLocal) del(context.Context) error {
	if _, err := os.Stat(h.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil // no address of this network was ever given
	}
	store, err := disk.New(h.name, h.dataDir)
	if err != nil {
		return err
	}
	defer store.Close()
	return h.release(store, h.args)
}

// release also looks whether it worked: the backend swallows what goes wrong
// (m#1239: addresses leak), and a leaked address has to be an error that is retried.
func (p pool) release(store *disk.Store, args Args) error {
	if err := store.Lock(); err != nil {
		return err
	}
	defer store.Unlock()
	if err := store.ReleaseByID(args.SandboxID, args.IfName); err != nil {
		return err
	}
	if held := store.GetByID(args.SandboxID, args.IfName); len(held) > 0 {
		return fmt.Errorf("address %s of network %q could not be released: its file in %s cannot be removed", join(held), p.name, p.dir())
	}
	return nil
}

func (h hostLocal) check(context.Context) error {
	store, err := disk.New(h.name, h.dataDir)
	if err != nil {
		return err
	}
	defer store.Close()
	if len(lockedGet(store, h.args)) == 0 {
		return fmt.Errorf("network %q has no address allocated to %s of sandbox %s", h.name, h.args.IfName, h.args.SandboxID)
	}
	return nil
}

// pool is where a network's addresses are recorded: one file each.
type pool struct {
	name, dataDir string
	// onlyOnHost: the conf names a file outside the directory that the agent shares
	// with the host. In its container the file would be another, or none: addresses
	// recorded there would be given again when the container is made anew.
	onlyOnHost bool
}

func (p pool) dir() string { return filepath.Join(p.dataDir, p.name) }

func openPool(args Args, conf json.RawMessage) (pool, error) {
	var c struct {
		Name string `json:"name"`
		IPAM struct {
			DataDir    string `json:"dataDir"`
			ResolvConf string `json:"resolvConf"`
		} `json:"ipam"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return pool{}, err
	}
	// The name becomes a directory; libcni's rule keeps it from being a path.
	if err := utils.ValidateNetworkName(c.Name); err != nil {
		return pool{}, fmt.Errorf("network name %q: %w", c.Name, err)
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

// taken counts the addresses of a range set that are given, and those whose file
// names no holder.
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

// holder reads who has an address: the file holds container id and interface.
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

func lockedGet(store *disk.Store, args Args) []net.IP {
	if err := store.Lock(); err != nil {
		return nil // the allocator meets the same error and reports it
	}
	defer store.Unlock()
	return store.GetByID(args.SandboxID, args.IfName)
}

// takeFrom removes the first address that lies in set from ips.
func takeFrom(ips *[]net.IP, set allocator.RangeSet) net.IP {
	for i, ip := range *ips {
		if set.Contains(ip) {
			*ips = append((*ips)[:i:i], (*ips)[i+1:]...)
			return ip
		}
	}
	return nil
}

func unique(ips []net.IP) []net.IP {
	seen := map[string]bool{}
	var out []net.IP
	for _, ip := range ips {
		if ip = canonical(ip); !seen[ip.String()] {
			seen[ip.String()] = true
			out = append(out, ip)
		}
	}
	return out
}

// canonical is the form in which the allocator compares: 4 bytes for IPv4.
func canonical(ip net.IP) net.IP {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip
}

func join(ips []net.IP) string {
	words := make([]string, len(ips))
	for i, ip := range ips {
		words[i] = ip.String()
	}
	return strings.Join(words, ", ")
}

func ranges(sets []allocator.RangeSet) string {
	words := make([]string, len(sets))
	for i, s := range sets {
		words[i] = s.String()
	}
	return strings.Join(words, "; ")
}
