package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"fairlead.dev/fairlead/pkg/ipam"
	"fairlead.dev/fairlead/pkg/link"
)

// ipamStep allocates addresses and puts them into the result.
func (j *job) ipamStep() step { return step{allocateAddresses, j.allocate, j.giveBack} }

const allocateAddresses = "allocate addresses"

func (j *job) allocate(ctx context.Context) error {
	if j.att.IPAM == "" {
		return nil
	}
	got, err := ipam.Add(ctx, j.env.Exec, j.ipamArgs(), j.conf)
	if err != nil {
		return err
	}
	if len(got.IPs) == 0 {
		return fmt.Errorf("ipam %s gave no address", j.att.IPAM)
	}
	for _, ip := range got.IPs {
		ip.Interface = new(int) // the first and only interface of the result
	}
	j.result.IPs, j.result.Routes, j.result.DNS = got.IPs, got.Routes, got.DNS
	return nil
}

func (j *job) giveBack(ctx context.Context) error {
	if j.att.IPAM == "" {
		return nil
	}
	if j.confErr != nil {
		return fmt.Errorf("the addresses of ipam %s cannot be given back: %w", j.att.IPAM, j.confErr)
	}
	err := ipam.Del(ctx, j.env.Exec, j.ipamArgs(), j.conf)
	if errors.Is(err, fs.ErrNotExist) && len(j.att.Result) == 0 {
		return nil // no such plugin: that is why the attachment was never complete
	}
	return err
}

func (j *job) ipamArgs() ipam.Args {
	return ipam.Args{SandboxID: j.env.SandboxID, IfName: j.att.IfName, Netns: j.netns,
		CNIArgs: j.att.CNIArgs, Path: j.env.Path, DataDir: j.HostLocalDir}
}

// setSysctls has the kernel tell the neighbours when the interface's addresses
// come up or its MAC changes, and lets IPv6 addresses be used while duplicate
// address detection still runs: pods start with their addresses usable.
func (j *job) setSysctls(context.Context) error {
	ifName := j.att.IfName
	return j.pod.SetSysctls(
		sysctl{"ipv4/conf/" + ifName + "/arp_notify", "1"},
		sysctl{"ipv6/conf/" + ifName + "/ndisc_notify", "1"},
		sysctl{"ipv6/conf/" + ifName + "/optimistic_dad", "1"},
	)
}

// configureAddresses puts addresses on the interface, brings it up, and adds the
// routes. Addresses come first: the kernel announces those that are there when
// the interface comes up.
func (j *job) configureAddresses(ctx context.Context) error {
	l, err := j.pod.ByName(j.att.IfName)
	if err != nil {
		return err
	}
	if err := j.addAddresses(l); err != nil {
		return err
	}
	if !l.Up {
		if err := j.pod.SetUp(l.Index); err != nil {
			return err
		}
	}
	if err := j.settle(ctx, l); err != nil {
		return err
	}
	if j.hasDefaultRoute() {
		// Most plugins of primaries add theirs in a way that fails where there is one.
		if err := j.env.last(ctx); err != nil {
			return err
		}
	}
	if err := j.addRoutes(l); err != nil {
		return err
	}
	j.announce(ctx, l)
	return nil
}

func (j *job) addAddresses(l link.Link) error {
	if j.hasIPv6() {
		// Runtimes may have disabled IPv6, on loopback too. And without keep_addr_on_down
		// an interface that goes down loses its IPv6 addresses alone.
		err := j.pod.SetSysctls(
			sysctl{"ipv6/conf/lo/disable_ipv6", "0"},
			sysctl{"ipv6/conf/" + l.Name + "/disable_ipv6", "0"},
			sysctl{"ipv6/conf/" + l.Name + "/keep_addr_on_down", "1"},
		)
		if err != nil {
			return err
		}
	}
	for _, ip := range j.result.IPs {
		addr := link.Address{IPNet: ip.Address, Optimistic: ip.Address.IP.To4() == nil}
		if err := j.pod.AddAddress(l.Index, addr); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) hasIPv6() bool {
	for _, ip := range j.result.IPs {
		if ip.Address.IP.To4() == nil {
			return true
		}
	}
	return false
}

// addRoutes adds the ipam's routes; one without a gateway gets the first that the
// ipam gave for its family, as the stock plugins do.
func (j *job) addRoutes(l link.Link) error {
	for _, r := range j.result.Routes {
		route := link.Route{Link: l.Index, Dst: r.Dst, GW: r.GW, MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
		if route.GW == nil {
			route.GW = j.gateway(r.Dst.IP.To4() != nil)
		}
		if r.Table != nil {
			route.Table = *r.Table
		}
		if r.Scope != nil {
			route.Scope = *r.Scope
		}
		if err := j.pod.AddRoute(route); err != nil {
			return fmt.Errorf("%w (field \"ipam.routes\": the gateway has to lie in the subnet of one of the interface's addresses, and no two routes may be the same)", err)
		}
	}
	return nil
}

func (j *job) hasDefaultRoute() bool {
	return slices.ContainsFunc(j.result.Routes, func(r *types.Route) bool {
		ones, _ := r.Dst.Mask.Size()
		return ones == 0
	})
}

func (j *job) gateway(v4 bool) net.IP {
	for _, ip := range j.result.IPs {
		if ip.Gateway != nil && (ip.Gateway.To4() != nil) == v4 {
			return ip.Gateway
		}
	}
	return nil
}

const (
	settleTries = 100
	settlePause = 100 * time.Millisecond
)

// settle waits until IPv6 addresses are usable. Optimistic ones are at once; for
// others duplicate address detection takes a second or two.
func (j *job) settle(ctx context.Context, l link.Link) error {
	if !j.hasIPv6() {
		return nil
	}
	for try := 1; ; try++ {
		addrs, err := j.pod.Addresses(l.Index)
		if err != nil {
			return err
		}
		waiting := ""
		for _, a := range addrs {
			if a.Duplicate {
				return fmt.Errorf("address %s is a duplicate: another host on the network has it", a.IPNet.IP)
			}
			if a.Tentative && !a.Optimistic && j.holds(a.IPNet.IP) {
				waiting = a.IPNet.IP.String()
			}
		}
		if waiting == "" {
			return nil
		}
		if try == settleTries || j.pause(ctx, settlePause) != nil {
			return fmt.Errorf("address %s is still tentative: duplicate address detection does not end (no carrier?)", waiting)
		}
	}
}

// holds leaves out the link-local address, which is the kernel's own.
func (j *job) holds(ip net.IP) bool {
	for _, own := range j.result.IPs {
		if own.Address.IP.Equal(ip) {
			return true
		}
	}
	return false
}

const (
	carrierTries = 20
	carrierPause = 10 * time.Millisecond
)

// announce tells the neighbours of a VF's addresses: the kernel's own
// announcement, when the interface came up, was lost if the NIC had no carrier
// yet. It never fails an attachment: caches elsewhere expire by themselves.
func (j *job) announce(ctx context.Context, l link.Link) {
	if j.att.Device.IsZero() || len(j.result.IPs) == 0 {
		return
	}
	for try := 1; !l.Carrier && try < carrierTries && j.pause(ctx, carrierPause) == nil; try++ {
		now, err := j.pod.ByIndex(l.Index)
		if err != nil {
			break
		}
		l = now
	}
	ips := make([]net.IP, 0, len(j.result.IPs))
	for _, ip := range j.result.IPs {
		ips = append(ips, ip.Address.IP)
	}
	if err := j.pod.Announce(l.Index, l.MAC, ips); err != nil {
		j.Log.Warn("addresses could not be announced to the neighbours", "vf", j.att.Device, "interface", j.att.IfName, "error", err)
	}
}
