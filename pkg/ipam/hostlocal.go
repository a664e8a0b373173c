package ipam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/plugins/plugins/ipam/host-local/backend/allocator"
)

// hostLocal is the built-in host-local.
type hostLocal struct {
	pool
	args Args
	conf json.RawMessage
}

func (h hostLocal) add(ctx context.Context) (*types100.Result, error) {
	if err := h.checkForeign(); err != nil {
		return nil, err
	}
	envArgs, ips, err := splitIPs(h.args.CNIArgs)
	if err != nil {
		return nil, err
	}
	c, _, err := allocator.LoadIPAMConfig(h.conf, envArgs)
	if err != nil {
		return nil, err
	}
	store, err := openStore(ctx, h.pool, h.args)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	if err := h.refuseSecondAdd(store); err != nil {
		return nil, err
	}
	result := &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Routes: c.Routes}
	if result.IPs, err = h.allocate(store, c.Ranges, append(ips, c.IPArgs...)); err != nil {
		return nil, errors.Join(err, store.rollBack())
	}
	return result, nil
}

// refuseSecondAdd returns an error if the interface already has addresses.
func (h hostLocal) refuseSecondAdd(s *store) error {
	if h.args.NewSandbox {
		return nil
	}
	held, err := s.held(h.args.Known)
	if err == nil && len(held) > 0 {
		err = fmt.Errorf("sandbox %s already holds %s for %s, from an ADD without a DEL", h.args.SandboxID, join(held), h.args.IfName)
	}
	return err
}

// allocate takes one address of each range set: a requested address if the set contains
// one.
func (h hostLocal) allocate(s *store, sets []allocator.RangeSet, requested []net.IP) ([]*types100.IPConfig, error) {
	left := unique(requested)
	var got []*types100.IPConfig
	for i, set := range sets {
		wanted := takeFrom(&left, set)
		ip, err := allocator.NewIPAllocator(&set, s, i).Get(h.args.SandboxID, h.args.IfName, wanted)
		if err != nil {
			return nil, h.explain(err, set, wanted)
		}
		got = append(got, ip)
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("requested address %s is in no range of network %q, or its range set has already given an address (ranges: %s)",
			join(left), h.name, ranges(sets))
	}
	return got, nil
}

func (h hostLocal) del(ctx context.Context) error {
	if _, err := os.Stat(h.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil // no address was ever allocated
	}
	store, err := openStore(ctx, h.pool, h.args)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.release(h.args.Known); err != nil {
		return fmt.Errorf("network %q: %w", h.name, err)
	}
	return nil
}

func (h hostLocal) check(ctx context.Context) error {
	store, err := openStore(ctx, h.pool, h.args)
	if err != nil {
		return err
	}
	defer store.Close()
	held, err := store.held(h.args.Known)
	if err == nil && len(held) == 0 {
		err = fmt.Errorf("network %q has no address allocated to %s of sandbox %s", h.name, h.args.IfName, h.args.SandboxID)
	}
	return err
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

// canonical returns the form in which the allocator compares: 4 bytes for IPv4.
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
