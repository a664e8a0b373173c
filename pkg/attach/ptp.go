package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/pkg/ledger"
	"fairlead.dev/fairlead/pkg/link"
)

// ptp is the Plugin that connects the pod to the host by a veth pair and routes: the host
// is the pod's gateway, and its only neighbour.
type ptp struct{ set *Set }

// ptpConf is the conf of a network of type ptp: the stock plugin's fields.
type ptpConf struct {
	IPMasq bool     `json:"ipMasq"`
	MTU    int      `json:"mtu"`
	IPAM   ipamConf `json:"ipam"`
}

// parsePTP reads and validates the conf.
func parsePTP(conf json.RawMessage) (ptpConf, error) {
	var c ptpConf
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	p.checkMTU(c.MTU)
	if c.IPAM.Type == "" {
		p.add("ipam", "it is not set; all traffic of a ptp network is routed by addresses")
	}
	return c, p.err()
}

// Prepare chooses the name of the pair's end on the host. A network with a packet filter
// on the host is the program's.
func (p ptp) Prepare(ctx context.Context, c Call, conf Conf) (ledger.Member, error) {
	parsed, err := parsePTP(conf.Raw)
	if err != nil {
		return ledger.Member{}, err
	}
	if parsed.IPMasq {
		p.set.Log.Info("the network needs the plugin's program", "network", c.Network, "plugin", conf.Type, "field", "ipMasq")
		return program(p).Prepare(ctx, c, conf)
	}
	v := ledger.VethMember{Host: vethName(), MTU: parsed.MTU}
	return ledger.Member{Plugin: PluginPTP, IPAM: parsed.IPAM.Type, Veth: &v}, nil
}

// Add makes the pair, and the routes on both sides.
func (p ptp) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newPTPWork(at, m)
	if err != nil {
		return nil, err
	}
	if err := w.steps().run(ctx); err != nil {
		return nil, err
	}
	return w.ip.result, nil
}

// Del deletes the pair, with which all its routes go, and gives the addresses back.
func (p ptp) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newPTPWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// Check compares the pair, and the host's routes to the pod.
func (p ptp) Check(ctx context.Context, c Call, m ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newPTPWork(at, &m)
	if err != nil {
		return err
	}
	return errors.Join(w.ip.check(ctx), w.check(), inspection{at: at, m: m}.run())
}

// ptpWork is one Add, Check or Del of a ptp network.
type ptpWork struct {
	*vethWork
	conf ptpConf
}

func newPTPWork(at site, m *ledger.Member) (*ptpWork, error) {
	v, err := newVethWork(at, m)
	return &ptpWork{vethWork: v}, err
}

// readConf is for Add, as that of bridge.
func (w *ptpWork) readConf(context.Context) (err error) {
	w.conf, err = parsePTP(w.m.Config)
	return err
}

// steps need no undo for addresses and routes: they go with the pair.
func (w *ptpWork) steps() steps {
	return append(steps{
		{"read the config", w.readConf, nil},
		{"wait for the interfaces before it", w.at.call.Order.turn, nil},
		{"make the interface", w.make, w.delete},
		{"set the interface's sysctls", w.ip.setSysctls, nil},
		w.ip.step(),
		{"complete the result", w.complete, nil},
	}, w.routing()...)
}

// remakeSteps leave the IPAM alone: it still has the addresses reserved.
func (w *ptpWork) remakeSteps(recorded *types100.Result) steps {
	return append(steps{
		{"read the config", w.readConf, nil},
		{"make the interface", w.make, w.delete},
		{"set the interface's sysctls", w.ip.setSysctls, nil},
		{"take the addresses", func(ctx context.Context) error {
			w.ip.take(recorded)
			return w.complete(ctx)
		}, nil},
	}, w.routing()...)
}

func (w *ptpWork) routing() steps {
	return steps{
		{"configure addresses", w.configure, nil},
		{"route by the gateway", w.routeInPod, nil},
		{"configure the gateway", w.configureHost, nil},
	}
}

func (w *ptpWork) make(context.Context) error { return w.vethWork.make(0) }

// complete needs a gateway for each address: the host has it.
func (w *ptpWork) complete(context.Context) error {
	result := w.ip.result
	for _, ip := range result.IPs {
		if ip.Gateway == nil {
			return fmt.Errorf("field \"ipam\": it gave no gateway for %s, and the host needs one as its address; set it", ip.Address.IP)
		}
	}
	w.outer(w.near)
	return nil
}

func (w *ptpWork) configure(ctx context.Context) error { return w.ip.configure(ctx, w.far) }

// routeInPod sends all packets by way of the gateway, those to the pod's own subnet too:
// nobody else is on the link.
func (w *ptpWork) routeInPod(context.Context) error {
	pod := w.at.pod
	for _, ip := range w.ip.result.IPs {
		own := ip.Address.IP
		subnet := net.IPNet{IP: own.Mask(ip.Address.Mask), Mask: ip.Address.Mask}
		if err := pod.DeleteRoute(link.Route{Link: w.far.Index, Dst: subnet, Scope: unix.RT_SCOPE_NOWHERE}); err != nil {
			return err
		}
		for _, r := range []link.Route{
			{Link: w.far.Index, Dst: single(ip.Gateway), Scope: unix.RT_SCOPE_LINK, Src: own},
			{Link: w.far.Index, Dst: subnet, GW: ip.Gateway, Src: own},
		} {
			if err := pod.AddRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// configureHost gives the host's end the gateways' addresses, has the host route to the
// pod, and forward packets.
func (w *ptpWork) configureHost(context.Context) error {
	host := w.at.host
	for _, ip := range w.ip.result.IPs {
		if err := host.AddAddress(w.near.Index, link.IPAddress{IPNet: single(ip.Gateway)}); err != nil && !errors.Is(err, link.ErrExists) {
			return err
		}
		err := host.AddRoute(link.Route{Link: w.near.Index, Dst: single(ip.Address.IP), Scope: unix.RT_SCOPE_HOST})
		if err != nil && !errors.Is(err, link.ErrExists) {
			return err
		}
		if err := host.SetSysctls(sysctl{forwarding(ip.Address.IP), "1"}); err != nil {
			return err
		}
	}
	return nil
}

// single is the network of one address.
func single(ip net.IP) net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		return net.IPNet{IP: v4, Mask: net.CIDRMask(32, 32)}
	}
	return net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)}
}

func (w *ptpWork) check() error {
	near, err := w.vethWork.check(0)
	if err != nil || w.at.call.Prev == nil {
		return err
	}
	have, err := w.at.host.Routes(near.Index)
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range w.at.call.Prev.IPs {
		toPod := func(r link.Route) bool { return sameNetwork(r.Dst, single(ip.Address.IP)) }
		if isOn(w.at.call.Prev, ip, w.at.call.IfName) && !slices.ContainsFunc(have, toPod) {
			errs = append(errs, fmt.Errorf("the host's route to %s is missing", ip.Address.IP))
		}
	}
	return errors.Join(errs...)
}

func sameNetwork(a, b net.IPNet) bool { return a.String() == b.String() }
