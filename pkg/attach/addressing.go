package attach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ipam"
	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// addressing gives one interface in the pod its addresses and routes.
type addressing struct {
	at     site
	m      *ledger.Member
	result *types100.Result // nil until the interface is there
	index  int              // of the interface in the result
}

// found starts the result with the interface.
func (a *addressing) found(l link.Link) {
	c := a.at.call
	iface := &types100.Interface{Name: c.IfName, Mac: l.MAC, Mtu: l.MTU, Sandbox: c.Netns.Path}
	if !a.m.Device.IsZero() {
		iface.PciID = a.m.Device.String()
	}
	a.result = &types100.Result{CNIVersion: types100.ImplementedSpecVersion, Interfaces: []*types100.Interface{iface}}
}

// step allocates addresses and puts them into the result.
func (a *addressing) step() step { return step{allocateAddresses, a.allocate, a.giveBack} }

const allocateAddresses = "allocate addresses"

func (a *addressing) allocate(ctx context.Context) error {
	if a.m.IPAM == "" {
		return nil
	}
	got, err := ipam.Add(ctx, a.at.call.Exec, a.ipamArgs(), a.m.Config)
	if err != nil {
		return err
	}
	if len(got.IPs) == 0 {
		return fmt.Errorf("ipam %s gave no address", a.m.IPAM)
	}
	for _, ip := range got.IPs {
		ip.Interface = &a.index
	}
	a.result.IPs, a.result.Routes, a.result.DNS = got.IPs, got.Routes, got.DNS
	return a.takeConfDNS()
}

// takeConfDNS has the dns of the plugin's own config take precedence over the ipam's.
func (a *addressing) takeConfDNS() error {
	if !bytes.Contains(bytes.ToLower(a.m.Config), []byte(`"dns"`)) {
		return nil // most configs: nothing is decoded for them
	}
	var conf struct {
		DNS types.DNS `json:"dns"`
	}
	if err := decode(a.m.Config, &conf); err != nil {
		return err
	}
	if !conf.DNS.IsEmpty() {
		a.result.DNS = conf.DNS
	}
	return nil
}

func (a *addressing) giveBack(ctx context.Context) error {
	if a.m.IPAM == "" {
		return nil
	}
	args := a.ipamArgs()
	args.Type = a.m.IPAM
	err := ipam.Del(ctx, a.at.call.Exec, args, a.m.Config)
	if errors.Is(err, fs.ErrNotExist) && a.at.call.Prev == nil {
		return nil // no such plugin: that is why the attachment was never complete
	}
	return err
}

func (a *addressing) check(ctx context.Context) error {
	if a.m.IPAM == "" {
		return nil
	}
	c := a.at.call
	prev, err := resultJSON(c.Prev, c.version)
	if err != nil {
		return err
	}
	return ipam.Check(ctx, c.Exec, a.ipamArgs(), withPrevResult(a.m.Config, prev))
}

func (a *addressing) ipamArgs() ipam.Args {
	c := a.at.call
	args := ipam.Args{SandboxID: c.SandboxID, IfName: c.IfName, Netns: c.Netns.Path, CNIArgs: c.CNIArgs, Path: c.Path, DataDir: a.at.set.HostLocalDir}
	args.NewSandbox = c.NewSandbox
	if c.Prev != nil {
		for _, ip := range c.Prev.IPs {
			args.Known = append(args.Known, ip.Address.IP)
		}
	}
	if a.at.pod == nil {
		args.Netns = "" // whatever is at that path by now is not the pod's
	}
	return args
}

// setSysctls has the kernel notify the neighbours when the interface's addresses come
// up or its MAC changes. It lets IPv6 addresses be used while duplicate address detection
// still runs: pods start with their addresses usable. A router of a secondary network does
// not become the pod's own.
func (a *addressing) setSysctls(context.Context) error {
	ifName := a.at.call.IfName
	list := []sysctl{
		{"ipv4/conf/" + ifName + "/arp_notify", "1"},
		{"ipv6/conf/" + ifName + "/ndisc_notify", "1"},
		{"ipv6/conf/" + ifName + "/optimistic_dad", "1"},
	}
	if !a.at.call.Primary && !a.at.set.SecondaryDefaultRoutes {
		list = append(list, advertisedBehind(ifName))
	}
	return a.at.pod.SetSysctls(list...)
}

// configure puts addresses on the interface, brings it up, and adds the routes.
// Addresses come first: the kernel announces those that are there when the interface
// comes up.
func (a *addressing) configure(ctx context.Context, l link.Link) error {
	if err := a.addAddresses(l); err != nil {
		return err
	}
	if !l.Up {
		if err := a.at.pod.SetUp(l.Index); err != nil {
			return err
		}
	}
	if err := a.settle(ctx, l); err != nil {
		return err
	}
	if slices.ContainsFunc(a.result.Routes, isDefaultRoute) {
		// Most plugins of primaries add theirs in a way that fails if there is one.
		if err := a.at.call.Order.last(ctx); err != nil {
			return err
		}
	}
	if err := a.addRoutes(l); err != nil {
		return err
	}
	return a.notify(l)
}

func (a *addressing) addAddresses(l link.Link) error {
	if a.hasIPv6() {
		// Runtimes may have disabled IPv6, on loopback too. And without keep_addr_on_down
		// an interface that goes down loses its IPv6 addresses, and keeps its IPv4 ones.
		err := a.at.pod.SetSysctls(
			sysctl{"ipv6/conf/lo/disable_ipv6", "0"},
			sysctl{"ipv6/conf/" + l.Name + "/disable_ipv6", "0"},
			sysctl{"ipv6/conf/" + l.Name + "/keep_addr_on_down", "1"},
		)
		if err != nil {
			return err
		}
	}
	for _, ip := range a.result.IPs {
		addr := link.IPAddress{IPNet: ip.Address, Optimistic: ip.Address.IP.To4() == nil}
		if err := a.at.pod.AddAddress(l.Index, addr); err != nil {
			return err
		}
	}
	return nil
}

func (a *addressing) hasIPv6() bool {
	return slices.ContainsFunc(a.result.IPs, func(ip *types100.IPConfig) bool { return ip.Address.IP.To4() == nil })
}

// addRoutes adds the ipam's routes. One without a gateway gets the first that the
// ipam gave for its family, as in the stock plugins.
func (a *addressing) addRoutes(l link.Link) error {
	for _, r := range a.result.Routes {
		route := link.Route{Link: l.Index, Dst: r.Dst, GW: r.GW, MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
		if route.GW == nil {
			route.GW = a.gateway(r.Dst.IP.To4() != nil)
		}
		if r.Table != nil {
			route.Table = *r.Table
		}
		if r.Scope != nil {
			route.Scope = *r.Scope
		}
		if err := a.at.pod.AddRoute(route); err != nil {
			return fmt.Errorf("%w (field \"ipam.routes\": the gateway has to lie in the subnet of one of the interface's addresses, and no two routes may be the same)", err)
		}
	}
	return nil
}

func isDefaultRoute(r *types.Route) bool {
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

func (a *addressing) gateway(v4 bool) net.IP {
	for _, ip := range a.result.IPs {
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

// settle waits until IPv6 addresses are usable. Optimistic ones are usable at once. For
// others duplicate address detection takes a second or two.
func (a *addressing) settle(ctx context.Context, l link.Link) error {
	if !a.hasIPv6() {
		return nil
	}
	for try := 1; ; try++ {
		addrs, err := a.own(l)
		if err != nil {
			return err
		}
		waiting := ""
		for _, addr := range addrs {
			if addr.Tentative && !addr.Optimistic {
				waiting = addr.IPNet.IP.String()
			}
		}
		if waiting == "" {
			return nil
		}
		if try == settleTries || a.at.set.pause(ctx, settlePause) != nil {
			return fmt.Errorf("address %s is still tentative: duplicate address detection does not end (no carrier?)", waiting)
		}
	}
}

// own reads the addresses that the result has. A duplicate is an error. The
// link-local address, which is the kernel's own, is left out.
func (a *addressing) own(l link.Link) ([]link.IPAddress, error) {
	addrs, err := a.at.pod.Addresses(l.Index)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if addr.Duplicate {
			return nil, fmt.Errorf("address %s is a duplicate: another host on the network has it", addr.IPNet.IP)
		}
	}
	return slices.DeleteFunc(addrs, func(addr link.IPAddress) bool { return !a.holds(addr.IPNet.IP) }), nil
}

func (a *addressing) holds(ip net.IP) bool {
	return slices.ContainsFunc(a.result.IPs, func(own *types100.IPConfig) bool { return own.Address.IP.Equal(ip) })
}
