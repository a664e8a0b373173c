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

// sourceRouting is the Plugin sbr, for source based routing: packets from an address of the interface that
// a member before it has made leave by that interface. Each address has a table of its own,
// to which the interface's routes move.
type sourceRouting struct{ set *Set }

// firstTable is the stock plugin's first candidate.
const firstTable = 100

type sbrConf struct {
	Table *int `json:"table"`
}

// parseSBR reads and validates the conf.
func parseSBR(conf json.RawMessage) (sbrConf, error) {
	var c sbrConf
	if err := decode(conf, &c); err != nil {
		return c, err
	}
	var p problems
	if c.Table != nil && *c.Table < 1 {
		p.add("table", "%d is no routing table; they begin with 1", *c.Table)
	}
	return c, p.err()
}

// Prepare validates the config. The interface does not exist yet.
func (p sourceRouting) Prepare(_ context.Context, _ Call, conf Conf) (ledger.Member, error) {
	_, err := parseSBR(conf.Raw)
	return ledger.Member{Plugin: PluginSBR}, err
}

// Add adds the rules and moves the routes. Its result is the one before.
func (p sourceRouting) Add(ctx context.Context, c Call, m *ledger.Member) (*types100.Result, error) {
	if c.Prev == nil {
		return nil, errors.New("sbr routes by the addresses of an interface that another plugin makes; put that one before it in the network's plugins")
	}
	at, err := p.set.enter(c)
	if err != nil {
		return nil, err
	}
	defer at.close()
	w, err := newSBRWork(at, m)
	if err != nil {
		return nil, err
	}
	if len(w.ips) == 0 {
		return nil, fmt.Errorf("the plugins before sbr gave interface %s no address", c.IfName)
	}
	// The networks of a pod are made side by side: two would take one table.
	p.set.tables.Lock()
	defer p.set.tables.Unlock()
	return c.Prev, w.steps().run(ctx)
}

// Del deletes the rules. The routes go with the interface.
func (p sourceRouting) Del(ctx context.Context, c Call, m *ledger.Member) error {
	at, err := p.set.leave(c)
	if err != nil {
		return err
	}
	defer at.close()
	if at.pod == nil {
		return nil // everything went with the namespace
	}
	w, err := newSBRWork(at, m)
	if err != nil {
		return err
	}
	return w.steps().undoAll(ctx)
}

// Check looks for the rules.
func (p sourceRouting) Check(_ context.Context, c Call, m ledger.Member) error {
	at, err := p.set.enter(c)
	if err != nil {
		return err
	}
	defer at.close()
	w, err := newSBRWork(at, &m)
	if err != nil {
		return err
	}
	return w.check()
}

// sbrWork is one Add, Check or Del of sbr.
type sbrWork struct {
	at    site
	conf  sbrConf
	ips   []*types100.IPConfig // of the interface, by the result
	moved []link.Route         // by this Add, out of the main table
}

func newSBRWork(at site, m *ledger.Member) (*sbrWork, error) {
	conf, err := parseSBR(m.Config)
	w := &sbrWork{at: at, conf: conf}
	if prev := at.call.Prev; prev != nil {
		for _, ip := range prev.IPs {
			if ip.Interface == nil || isOn(prev, ip, at.call.IfName) {
				w.ips = append(w.ips, ip)
			}
		}
	}
	return w, err
}

func (w *sbrWork) steps() steps {
	return steps{
		{"move routes to tables of their own", nil, w.moveBack},
		{"route by source", w.route, w.deleteRules},
	}
}

// route gives each address a rule and a table. If the config names a table, the rules lead
// to that one, and somebody else keeps it.
func (w *sbrWork) route(context.Context) error {
	if w.conf.Table != nil {
		return w.addRules(func(net.IP) int { return *w.conf.Table })
	}
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if err != nil {
		return err
	}
	all, err := w.at.pod.Routes(0)
	if err != nil {
		return err
	}
	tables, err := w.freeTables(all)
	if err != nil {
		return err
	}
	if err := w.addRules(func(ip net.IP) int { return tables[ip.String()] }); err != nil {
		return err
	}
	own := slices.DeleteFunc(all, func(r link.Route) bool { return r.Link != l.Index || r.Table != unix.RT_TABLE_MAIN })
	for _, ip := range w.ips {
		if err := w.fill(tables[ip.Address.IP.String()], ip, own, l.Index); err != nil {
			return err
		}
	}
	return w.empty(own)
}

// freeTables chooses a table for each address: no rule leads to it, and no route is in it.
func (w *sbrWork) freeTables(routes []link.Route) (map[string]int, error) {
	rules, err := w.at.pod.Rules()
	if err != nil {
		return nil, err
	}
	used := map[int]bool{}
	for _, r := range rules {
		used[r.Table] = true
	}
	for _, r := range routes {
		used[r.Table] = true
	}
	tables, next := map[string]int{}, firstTable
	for _, ip := range w.ips {
		for used[next] {
			next++
		}
		tables[ip.Address.IP.String()] = next
		next++
	}
	return tables, nil
}

func (w *sbrWork) addRules(table func(net.IP) int) error {
	for _, ip := range w.ips {
		if err := w.at.pod.AddRule(link.Rule{Src: single(ip.Address.IP), Table: table(ip.Address.IP)}); err != nil {
			return err
		}
	}
	return nil
}

// fill gives a table the interface's routes for an address, and the default route by its
// gateway.
func (w *sbrWork) fill(table int, ip *types100.IPConfig, own []link.Route, index int) error {
	if ip.Gateway != nil {
		byGateway := link.Route{Link: index, Dst: defaultOf(ip.Address.IP.To4() != nil), GW: ip.Gateway, Table: table}
		if err := w.at.pod.AddRoute(byGateway); err != nil {
			return err
		}
	}
	for _, r := range own {
		if !serves(r, ip.Address) {
			continue
		}
		r.Table = table
		if err := w.at.pod.ReplaceRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// serves reports whether a route is of use for packets from an address: it is by way of
// the address's subnet, or it is a general one.
func serves(r link.Route, address net.IPNet) bool {
	return r.Src == nil && r.GW == nil || r.Src != nil && address.Contains(r.Src) || r.GW != nil && address.Contains(r.GW)
}

// empty takes the routes that are in other tables by now out of the main one. The copies of
// all addresses come first: a gateway is looked up in the main table.
func (w *sbrWork) empty(own []link.Route) error {
	for _, r := range own {
		if !slices.ContainsFunc(w.ips, func(ip *types100.IPConfig) bool { return serves(r, ip.Address) }) {
			continue
		}
		if err := w.at.pod.DeleteRoute(r); err != nil {
			return err
		}
		w.moved = append(w.moved, r)
	}
	return nil
}

// moveBack serves an Add that fails. At Del the interface goes, with all its routes.
func (w *sbrWork) moveBack(context.Context) error {
	// A route by a gateway needs that of the gateway's subnet.
	slices.SortStableFunc(w.moved, func(a, b link.Route) int { return len(a.GW) - len(b.GW) })
	for _, r := range w.moved {
		if err := w.at.pod.ReplaceRoute(r); err != nil {
			return err
		}
	}
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if err != nil {
		return ignoreNotFound(err)
	}
	return w.clear(l.Index)
}

// clear deletes the interface's routes in other tables than the kernel's own.
func (w *sbrWork) clear(index int) error {
	if w.conf.Table != nil {
		return nil // routes there are somebody else's
	}
	routes, err := w.at.pod.Routes(index)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range routes {
		if r.Table < unix.RT_TABLE_COMPAT || r.Table > unix.RT_TABLE_LOCAL {
			errs = append(errs, ignoreNotFound(w.at.pod.DeleteRoute(r)))
		}
	}
	return errors.Join(errs...)
}

// deleteRules deletes the rules for the interface's addresses: those of the result, and
// those that it has.
func (w *sbrWork) deleteRules(context.Context) error {
	sources, err := w.sources()
	if err != nil {
		return err
	}
	rules, err := w.at.pod.Rules()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range rules {
		if sources[r.Src.String()] && (w.conf.Table == nil || r.Table == *w.conf.Table) {
			errs = append(errs, ignoreNotFound(w.at.pod.DeleteRule(r)))
		}
	}
	return errors.Join(errs...)
}

func (w *sbrWork) sources() (map[string]bool, error) {
	sources := map[string]bool{}
	add := func(ip net.IP) {
		one := single(ip)
		sources[one.String()] = true
	}
	for _, ip := range w.ips {
		add(ip.Address.IP)
	}
	l, err := w.at.pod.ByName(w.at.call.IfName)
	if err != nil {
		return sources, ignoreNotFound(err)
	}
	have, err := w.at.pod.Addresses(l.Index)
	for _, a := range have {
		add(a.IPNet.IP)
	}
	return sources, err
}

func (w *sbrWork) check() error {
	rules, err := w.at.pod.Rules()
	if err != nil {
		return err
	}
	var errs []error
	for _, ip := range w.ips {
		found := func(r link.Rule) bool {
			return sameNetwork(r.Src, single(ip.Address.IP)) && (w.conf.Table == nil || r.Table == *w.conf.Table)
		}
		if !slices.ContainsFunc(rules, found) {
			errs = append(errs, fmt.Errorf("the rule for packets from %s is missing", ip.Address.IP))
		}
	}
	return errors.Join(errs...)
}
