package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// bridge is the Plugin that connects the pod to a bridge of the host by a veth pair. A
// bridge that does not exist is made. It stays: it belongs to all pods of the network, and to
// the host, and so do its address and the forwarding of packets.
type bridge struct{ set *Set }

// Prepare chooses the name of the pair's end on the host. If the config asks for work that
// is not built in, the member is the program's.
func (p bridge) Prepare(ctx context.Context, c Call, conf Conf) (ledger.Member, error) {
	parsed, err := parseBridge(conf.Raw, c.CNIArgs)
	if err != nil {
		return ledger.Member{}, err
	}
	if field := parsed.needsProgram(); field != "" {
		p.set.Log.Info("the network needs the plugin's program", "network", c.Network, "plugin", conf.Type, "field", field)
		return program(p).Prepare(ctx, c, conf)
	}
	at, err := p.set.enterHost(c)
	if err != nil {
		return ledger.Member{}, err
	}
	defer at.close()
	if err := parsed.check(at); err != nil {
		return ledger.Member{}, err
	}
	v := ledger.VethMember{Host: vethName(), Bridge: parsed.Bridge, MAC: parsed.mac, MTU: parsed.MTU}
	return ledger.Member{Plugin: PluginBridge, IPAM: parsed.IPAM.Type, Veth: &v}, nil
}

// check refuses a link that is no bridge. And it refuses to take an address from a
// bridge by which the node itself is reached.
func (c bridgeConf) check(at site) error {
	l, err := at.host.ByName(c.Bridge)
	if errors.Is(err, link.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if l.Kind != "bridge" {
		return fmt.Errorf("field \"bridge\": the host's interface %s is no bridge; name a bridge, or a name that is free, to have one made", c.Bridge)
	}
	if !c.ForceAddress {
		return nil
	}
	use, err := at.host.Use(l.Index)
	if err == nil && use.DefaultRoute {
		err = fmt.Errorf("field \"forceAddress\": it would take the host's address from bridge %s, which the host uses %s; leave it out, or name another bridge", c.Bridge, use)
	}
	return err
}

// Add makes the bridge if needed, and the pair.
func (p bridge) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newBridgeWork(at, m)
	if err != nil {
		return nil, err
	}
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.ip.result, nil
}

// Del deletes the pair, and gives the addresses back.
func (p bridge) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newBridgeWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// Check compares the bridge, its port and the pod's interface.
func (p bridge) Check(ctx context.Context, c Call, m ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newBridgeWork(at, &m)
	if err != nil {
		return err
	}
	if err := w.readConf(ctx); err != nil {
		return err
	}
	return errors.Join(w.ip.check(ctx), w.check(), inspection{at: at, m: m, staysDown: w.conf.StaysDown}.run())
}

// bridgeWork is one Add, Check or Del of a pod's place on a bridge.
type bridgeWork struct {
	*vethWork
	conf   bridgeConf
	bridge link.Link
	isNew  bool // this Add has made the bridge
}

func newBridgeWork(at site, m *ledger.Member) (*bridgeWork, error) {
	v, err := newVethWork(at, m)
	return &bridgeWork{vethWork: v}, err
}

// readConf is for Add and Check. Del needs no config, so that no later validation can
// prevent it.
func (w *bridgeWork) readConf(context.Context) (err error) {
	w.conf, err = parseBridge(w.m.Config, w.at.call.CNIArgs)
	return err
}

func (w *bridgeWork) steps() steps {
	return steps{
		{"read the config", w.readConf, nil},
		{"wait for the interfaces before it", w.at.call.Order.turn, nil},
		{"make the interface", w.make, w.remove},
		{"set the interface's sysctls", w.setSysctls, nil},
		w.ip.step(),
		{"choose gateways", w.chooseGateways, nil},
		{"configure addresses", w.configure, nil},
		{"configure the gateway", w.configureGateway, nil},
		{"wait for the bridge's port", w.await, nil},
		{"read the bridge", w.complete, nil},
	}
}

// make holds the lock until the pair exists, so that no Add that fails takes the bridge
// away in between.
func (w *bridgeWork) make(context.Context) error {
	w.at.set.bridges.Lock()
	defer w.at.set.bridges.Unlock()
	if err := w.findBridge(); err != nil {
		return fmt.Errorf("bridge %s: %w", w.conf.Bridge, err)
	}
	if err := w.vethWork.make(w.bridge.Index); err != nil {
		return err
	}
	if !w.conf.Hairpin && !w.conf.Isolated {
		return nil
	}
	return w.at.host.SetPort(w.near.Index, w.conf.Hairpin, w.conf.Isolated)
}

// findBridge finds the bridge or makes it, and brings it up.
func (w *bridgeWork) findBridge() (err error) {
	host, name := w.at.host, w.conf.Bridge
	w.bridge, err = host.ByName(name)
	if errors.Is(err, link.ErrNotFound) {
		w.bridge, err = host.AddBridge(link.Spec{Name: name, MTU: w.conf.MTU}, host)
		w.isNew = err == nil
	}
	switch {
	case errors.Is(err, link.ErrUnsupported):
		return fmt.Errorf("this node's kernel has no bridges (module missing?): %w", err)
	case err != nil:
		return err
	case w.bridge.Kind != "bridge":
		return errors.New("the host's interface of that name is no bridge")
	}
	if w.conf.Promisc && !w.bridge.Promisc {
		on := true
		if err := host.SetAttributes(w.bridge.Index, link.Attributes{Promisc: &on}); err != nil {
			return err
		}
	}
	if err := host.SetSysctls(sysctl{"ipv6/conf/" + name + "/accept_ra", "0"}); err != nil || w.bridge.Up {
		return err
	}
	return host.SetUp(w.bridge.Index)
}

// remove deletes the pair. A bridge that this Add has made is deleted too, unless another
// pod has come to it since.
func (w *bridgeWork) remove(ctx context.Context) error {
	if err := w.delete(ctx); err != nil || !w.isNew {
		return err
	}
	w.at.set.bridges.Lock()
	defer w.at.set.bridges.Unlock()
	links, err := w.at.host.List()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(links, func(l link.Link) bool { return l.Master == w.bridge.Index }) {
		return nil
	}
	return ignoreNotFound(w.at.host.Delete(w.bridge.Index))
}

// setSysctls turns duplicate address detection off unless the config asks for it, as the
// stock plugin does: the ipam gives an address once.
func (w *bridgeWork) setSysctls(ctx context.Context) error {
	if w.m.IPAM == "" {
		return nil
	}
	detect := "0"
	if w.conf.DetectDups {
		detect = "1"
	}
	return errors.Join(w.ip.setSysctls(ctx), w.at.pod.SetSysctls(sysctl{"ipv6/conf/" + w.at.call.IfName + "/accept_dad", detect}))
}

// chooseGateways completes the result: if the bridge is the gateway, it has the first
// address of each subnet whose gateway the ipam does not name.
func (w *bridgeWork) chooseGateways(context.Context) error {
	result := w.ip.result
	w.outer(w.bridge, w.near)
	done := map[bool]bool{}
	for _, ip := range result.IPs {
		v4 := ip.Address.IP.To4() != nil
		if ip.Gateway == nil && w.conf.Gateway {
			ip.Gateway = firstOf(ip.Address)
		}
		if w.conf.Default && !done[v4] && !hasDefaultByGateway(result.Routes, v4) {
			result.Routes = append(result.Routes, &types.Route{Dst: defaultOf(v4), GW: ip.Gateway})
		}
		done[v4] = true
	}
	return nil
}

// firstOf returns the address after that of the subnet.
func firstOf(n net.IPNet) net.IP {
	first := slices.Clone(n.IP.Mask(n.Mask))
	for i := len(first) - 1; i >= 0; i-- {
		if first[i]++; first[i] != 0 {
			break
		}
	}
	return first
}

func defaultOf(v4 bool) net.IPNet {
	if v4 {
		return net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	}
	return net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

func hasDefaultByGateway(routes []*types.Route, v4 bool) bool {
	return slices.ContainsFunc(routes, func(r *types.Route) bool {
		return r.GW != nil && isDefaultRoute(r) && (r.Dst.IP.To4() != nil) == v4
	})
}

func (w *bridgeWork) configure(ctx context.Context) error {
	if w.conf.StaysDown {
		return nil
	}
	return w.ip.configure(ctx, w.far)
}

// configureGateway gives the bridge its addresses, and has the host forward packets.
func (w *bridgeWork) configureGateway(context.Context) error {
	if !w.conf.Gateway {
		return nil
	}
	forward := map[string]bool{}
	for _, ip := range w.ip.result.IPs {
		if err := w.addGateway(net.IPNet{IP: ip.Gateway, Mask: ip.Address.Mask}); err != nil {
			return err
		}
		forward[forwarding(ip.Address.IP)] = true
	}
	for key := range forward {
		if err := w.at.host.SetSysctls(sysctl{key, "1"}); err != nil {
			return err
		}
	}
	return nil
}

// forwarding is the sysctl by which a host forwards packets of an address's family.
func forwarding(ip net.IP) string {
	if ip.To4() != nil {
		return "ipv4/ip_forward"
	}
	return "ipv6/conf/all/forwarding"
}

// addGateway gives the bridge an address. It may have one IPv4 address, and IPv6 addresses
// of several subnets. forceAddress takes others away. With an address, the bridge keeps
// its MAC, which would otherwise follow its ports.
func (w *bridgeWork) addGateway(addr net.IPNet) error {
	host := w.at.host
	have, err := host.Addresses(w.bridge.Index)
	if err != nil {
		return err
	}
	for _, a := range have {
		switch other := a.IPNet; {
		case other.String() == addr.String():
			return nil
		case !excludes(other, addr):
		case !w.conf.ForceAddress:
			return fmt.Errorf("bridge %s has another address than the network's gateway, %s; name another bridge, or set \"forceAddress\"", w.bridge.Name, &addr)
		default:
			if err := ignoreNotFound(host.DeleteAddress(w.bridge.Index, other)); err != nil {
				return err
			}
		}
	}
	if err := host.AddAddress(w.bridge.Index, link.IPAddress{IPNet: addr}); err != nil && !errors.Is(err, link.ErrExists) {
		return err
	}
	return host.SetMAC(w.bridge.Index, w.bridge.MAC)
}

func excludes(have, want net.IPNet) bool {
	if (have.IP.To4() != nil) != (want.IP.To4() != nil) {
		return false
	}
	return want.IP.To4() != nil || have.Contains(want.IP) || want.Contains(have.IP)
}

const (
	portTries = 250
	portPause = 10 * time.Millisecond
)

// await waits until the bridge forwards what arrives at the port.
func (w *bridgeWork) await(ctx context.Context) error {
	for try := 1; !w.conf.StaysDown; try++ {
		l, err := w.at.host.ByIndex(w.near.Index)
		if err != nil {
			return err
		}
		if w.near = l; l.OperState == "up" {
			return nil
		}
		if try == portTries || w.at.set.pause(ctx, portPause) != nil {
			return fmt.Errorf("the port of bridge %s for interface %s does not come up: it is %s", w.bridge.Name, w.at.call.IfName, l.OperState)
		}
	}
	return nil
}

// complete reads the bridge again: its MAC may have followed that of the new port.
func (w *bridgeWork) complete(context.Context) error {
	l, err := w.at.host.ByIndex(w.bridge.Index)
	if err != nil {
		return err
	}
	w.ip.result.Interfaces[0].Mac, w.ip.result.Interfaces[1].Mac = l.MAC, w.near.MAC
	return nil
}

func (w *bridgeWork) check() error {
	l, err := w.at.host.ByName(w.m.Veth.Bridge)
	if errors.Is(err, link.ErrNotFound) {
		return fmt.Errorf("bridge %s is missing", w.m.Veth.Bridge)
	}
	if err != nil {
		return err
	}
	port, err := w.vethWork.check(l.Index)
	errs := []error{err}
	if l.Kind != "bridge" {
		errs = append(errs, fmt.Errorf("%s is of kind %q, not bridge", l.Name, l.Kind))
	}
	if w.conf.Promisc && !l.Promisc {
		errs = append(errs, fmt.Errorf("bridge %s is not in promiscuous mode", l.Name))
	}
	if err == nil && (port.Hairpin != w.conf.Hairpin || port.Isolated != w.conf.Isolated) {
		errs = append(errs, fmt.Errorf("the port of bridge %s for interface %s has other attributes than the network asks for", l.Name, w.at.call.IfName))
	}
	return errors.Join(errs...)
}
